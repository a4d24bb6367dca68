"""What is done with items one after the other, in memory that does not grow with their number."""

import hashlib
import heapq
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import IO, TypeVar

import numpy as np

from rocl.download import cache_folder
from rocl.errors import UserError

LARGE = 2**27  # characters of a corpus that memory holds

T = TypeVar("T")


def portions(items: Iterable[T], size: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """The items in lists, each ended by the one with which it is larger than `most`; the last may be empty."""
    some, total = [], 0
    for item in items:
        some.append(item)
        total += size(item)
        if total > most:
            yield some
            some, total = [], 0
    yield some


@contextmanager
def scratch(mode: str, **options: str) -> Iterator[IO]:
    """A file to be written in the block, without a name and gone with the process. It lies in the cache folder, for the
    folder that the system has for such files may be memory."""
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        yield (file := tempfile.TemporaryFile(mode, dir=cache_folder(), **options))
        file.flush()
    except OSError as error:
        fix = "make room there, or set XDG_CACHE_HOME to another folder"
        raise UserError(f"{cache_folder()}: what is too large for memory cannot be written ({error}): {fix}") from error


def in_order(lines: Iterable[str]) -> Iterator[str]:
    """The lines, sorted by portions that lie in files, where they are many."""
    # While one portion is sorted, the next is read and the first waits.
    parts = map(sorted, portions(lines, len, LARGE // 4))
    return heapq.merge(next(parts), *map(_written, parts))


def _written(lines: Iterable[str]) -> Iterator[str]:
    with scratch("w+", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
    file.seek(0)
    return (line[:-1] for line in file)


def repeated(names: Callable[[], Iterable[str]]) -> set[str]:
    """Those that come more than once of the names that each call of `names` gives; memory has their hashes."""
    hashes = np.sort(np.fromiter(map(hash, names()), np.int64))
    alike = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    counts = Counter(name for name in names() if hash(name) in alike) if alike else Counter()
    return {name for name, count in counts.items() if count > 1}


def listed(values: Iterable[object]) -> Iterator[str]:
    """The pieces of what `json.dumps` makes of a list of these values."""
    yield from chain("[", joined(map(json.dumps, values), ", "), "]")


def joined(pieces: Iterable[str], between: str) -> Iterator[str]:
    """The pieces of what `between.join` makes of these."""
    for number, piece in enumerate(pieces):
        yield between + piece if number else piece


def digest(pieces: Iterable[str]) -> str:
    """Hex sha256 of the text that these pieces make up."""
    sha = hashlib.sha256()
    for piece in pieces:
        sha.update(piece.encode())
    return sha.hexdigest()
