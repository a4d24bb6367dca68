"""Text files read so that a bad one is one clear line with file and row; and a corpus of your own: CSV, TSV, JSONL."""

import csv
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rocl.data.corpus import Corpus, Row, Splits
from rocl.download import UserError

csv.field_size_limit(1 << 30)  # a long document is one field


def bad(path: Path, number: int, what: str) -> UserError:
    """The error for a row, counted from 1, a header included."""
    return UserError(f"{path}, row {number}: {what}")


def text(path: Path, content: bytes | None = None) -> str:
    """A file's UTF-8 text (or that of `content`, read out of it), without a byte order mark."""
    try:
        content = path.read_bytes() if content is None else content
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad(path, content.count(b"\n", 0, error.start) + 1, f"not UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


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


def columns(path: Path, count: int, separator: str = "\t") -> Iterator[tuple[int, list[str]]]:
    """(row number, fields) of a file without quoting; what is past the last separator belongs to the last field."""
    for number, line in enumerate(lines(path), 1):
        fields = line.split(separator, count - 1)
        if len(fields) < count:
            raise bad(path, number, f"{len(fields)} of {count} columns")
        yield number, fields


def quoted(path: Path, count: int = 0) -> Iterator[tuple[int, list[str]]]:
    """(row number, fields) of a comma-separated file, fields quoted or not; 0 means as many as the first row has."""
    number = 0
    try:
        for number, fields in enumerate(csv.reader(io.StringIO(text(path), newline=""), strict=True), 1):
            count = count or len(fields)
            if len(fields) != count:
                raise bad(path, number, f"{len(fields)} columns, expected {count}")
            yield number, fields
    except csv.Error as error:
        raise bad(path, number + 1, f"not CSV ({error})") from error


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


def corpus(
    name: str,
    language: str,
    labels: tuple[str, ...],
    *,
    kind: str = "one",
    licence: str = "not stated",
    **paths: str | Path,
) -> Corpus:
    """A corpus of your own: `train=`, `dev=` and `test=` are paths that end in .csv, .tsv or .jsonl.

    Columns or keys: `text` (or `texts`, a JSON list), `label` (or `labels`, a JSON list; in a table joined by "|"),
    perhaps `id`; any other is kept as extra. A .tsv is not quoted.
    """
    read = partial(_read, {split: Path(path) for split, path in paths.items()})
    return Corpus(name=name, language=language, labels=labels, kind=kind, licence=licence, read=read)


def _read(paths: Mapping[str, Path], _files: Mapping[str, Path]) -> Splits:
    return {split: [_row(path, split, *record) for record in _records(path)] for split, path in paths.items()}


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.suffix == ".jsonl":
        for number, line in enumerate(lines(path), 1):
            try:
                yield number, dict(json.loads(line))
            except (ValueError, TypeError) as error:
                raise bad(path, number, f"not a JSON object ({error})") from error
    elif path.suffix in (".csv", ".tsv"):
        rows = quoted(path) if path.suffix == ".csv" else columns(path, lines(path)[0].count("\t") + 1)
        _, header = next(rows, (1, []))
        for number, fields in rows:
            yield number, dict(zip(header, fields, strict=True))
    else:
        raise UserError(f"{path}: rocl reads .csv, .tsv and .jsonl, not {path.suffix or 'a file without an ending'}")


def _row(path: Path, split: str, number: int, record: dict[str, Any]) -> Row:
    texts = record.pop("texts", None) or [record.pop("text", None)]
    labels = record.pop("labels", record.pop("label", None))
    if isinstance(labels, str):
        labels = [label for label in labels.split("|") if label]
    for values, name in ((texts, "'text' or 'texts'"), (labels, "'label' or 'labels'")):
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise bad(path, number, f"no {name}, or not of strings")
    id = str(record.pop("id", f"{split}-{number}"))
    return Row(id, tuple(texts), tuple(labels), record)
