"""Text files read so that a bad one is one clear line with file and row."""

import csv
import gzip
import io
import json
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rocl.errors import UserError

OPENED = {".gz": gzip.open, ".xz": lzma.open}  # by the last ending of a name
Fields = Iterator[tuple[int, list[str]]]  # (row number, fields) of each row
csv.field_size_limit(1 << 30)  # a long document is one field


def bad(path: Path, number: int, what: str) -> UserError:
    """The error for a row, counted from 1, a header included."""
    return UserError(f"{path}, row {number}: {what}")


def text(path: Path, content: bytes | None = None) -> str:
    """A file's UTF-8 text (or that of `content`, read out of it), unpacked, without a byte order mark."""
    try:
        if content is None:
            with OPENED.get(path.suffix, open)(path, "rb") as file:
                content = file.read()
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = content.count(b"\n", 0, error.start) + 1
        raise bad(path, where, f"not UTF-8 (byte {error.start}): save the file as UTF-8") from error
    except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{path} is cut short or no {path.suffix} file ({error}): pack it again") from error
    except OSError as error:
        where = f" (looked for in {Path.cwd()})" if not path.is_absolute() and not path.exists() else ""
        raise UserError(f"{path} cannot be read: {error.strerror}{where}") from error


def streamed(path: Path, newline: str = "\n") -> Iterator[str]:
    """The lines of a file and what ends them, read as they are asked for; `newline` is that of `open`."""
    try:
        with OPENED.get(path.suffix, open)(path, "rb") as file:
            yield from io.TextIOWrapper(file, "utf-8-sig", newline=newline)
    except (UnicodeDecodeError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        text(path)  # which tells what is wrong and where, unless it takes a second stream for what may be left out
        raise UserError(f"{path} is damaged ({error}): pack it again") from error


def lines(path: Path, content: bytes | None = None) -> list[str]:
    """The lines of a file. Only a newline ends one: a text may hold other characters that Python splits at."""
    return [line.removesuffix("\r") for line in text(path, content).removesuffix("\n").split("\n")]


def member(path: Path, name: str) -> bytes:
    """What a zip holds under a name, read in memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)
    except (zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"{path} is not a zip with {name} ({error})") from error


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file of a tar, packed or not, read in memory and in one pass: no name becomes a path."""
    try:
        with tarfile.open(path) as archive:
            for item in archive:
                if item.isfile():
                    yield item.name, archive.extractfile(item).read()
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{path} is cut short or no tar: put the right one there") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def tar_member(path: Path, name: str) -> bytes:
    """What a tar holds under a name."""
    for found, content in members(path):
        if found == name:
            return content
    raise UserError(f"{path} holds no {name}: get it again")


def aligned(*given: tuple[Path, list[str]]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(row number, a text of each) of files that go together row by row; a row without one of its texts is refused."""
    for number, texts in enumerate(zip_longest(*(texts for _, texts in given), fillvalue=""), 1):
        for (path, found), text in zip(given, texts, strict=True):
            if not text.strip():
                raise bad(path, number, "no text" if number <= len(found) else f"missing, the last is {len(found)}")
        yield number, texts


def columns(path: Path, count: int, separator: str = "\t", content: bytes | None = None) -> Fields:
    """(row number, fields) of a file without quoting; what is past the last separator belongs to the last field."""
    for number, line in enumerate(lines(path, content), 1):
        fields = line.split(separator, count - 1)
        if len(fields) < count:
            raise bad(path, number, f"{len(fields)} of {count} columns")
        yield number, fields


def quoted(path: Path, count: int = 0, separator: str = ",") -> Fields:
    """(row number, fields) of a comma-separated file, fields quoted or not; 0 means as many as the first row has. Empty
    lines are no rows."""
    rows, number = csv.reader(streamed(path, newline=""), strict=True, delimiter=separator), 0
    try:
        for number, fields in enumerate(rows, 1):
            count = count or len(fields)
            if fields and len(fields) != count:
                fix = 'put fields that hold the separator between "quotes"'
                raise bad(path, number, f"{len(fields)} columns, expected {count}: {fix}")
            if fields:
                yield number, fields
    except csv.Error as error:
        raise bad(path, number + 1, f"not CSV ({error}): look for a quote that is not closed") from error


def objects(path: Path, fields: Mapping[str, type], inside: str = "") -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number, object) of a JSON list, or of that under the key `inside`; each has these fields, of these types."""
    try:
        found = json.loads(text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error
    if inside:
        found = found.get(inside) if isinstance(found, dict) else None
    if not isinstance(found, list):
        raise UserError(f"{path}: expected a JSON list" + (f" under {inside!r}" if inside else ""))
    for number, item in enumerate(found, 1):
        for name, kind in fields.items():
            if not isinstance(item, dict) or not isinstance(item.get(name), kind):
                raise bad(path, number, f"no {name!r} of type {kind.__name__}")
        yield number, item


def one_of(names: Mapping[str, str], key: str, path: Path, number: int) -> str:
    """The label that stands for `key` in a file."""
    if key not in names:
        raise bad(path, number, f"unknown label {key!r}, expected one of {', '.join(names)}")
    return names[key]
