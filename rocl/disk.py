"""Files that are whole or not there, whenever the machine stops, and the digests that tell contents apart."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from rocl.errors import UserError

os.umask(UMASK := os.umask(0))  # it can only be asked by setting it


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place to write to; what stands there when the block ends takes the name `path`, safely on disk."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # two processes may write the same file
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(0o666 & ~UMASK)  # safetensors leaves files that their owner alone can read
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def missing(path: Path) -> Iterator[bool]:
    """Whether the file must be made in the block: of all processes that need it one makes it, and the others wait."""
    if path.exists():  # it may lie where nothing can be written
        yield False
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        yield not path.exists()


def write(path: Path, text: str) -> None:
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """What a file that rocl wrote holds; UserError where it is not there or was damaged since."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: not there any more: put it back, or train the run anew") from error
    except ValueError as error:
        raise UserError(f"{path}: damaged, no JSON ({error}): put it back, or train the run anew") from error


def digest(*paths: Path) -> str:
    """Hex sha256 of the bytes of the files, one after the other."""
    sha = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()
