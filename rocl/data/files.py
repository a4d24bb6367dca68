"""A corpus of your own, in any language: CSV, TSV or JSON lines, plain, .gz or .xz."""

import glob
import json
import math
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rocl.data import reading
from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import OPENED, bad, quoted, streamed
from rocl.data.splits import draw_groups
from rocl.data.stored import kept
from rocl.data.streams import repeated
from rocl.data.task import folded
from rocl.errors import UserError, hint

NAMES = {"train": ("train",), "dev": ("dev", "valid", "validation", "val"), "test": ("test",)}  # what "{split}" may be
OURS = ("text", "label", "id", "group", "weight", "twin", "pair")  # what a column may be
TOLD = ("weight", "group")  # columns that dev and test may lack
DRAWN = {"test": 1 / 5, "dev": 1 / 8}  # share of train that a split without a file takes, one after the other


def files(
    path: str | Path,
    *,
    language: str,
    text: str = "text",
    label: str = "label",
    many: bool = False,
    separator: str = "|",
    id: str | None = None,
    group: str | None = None,
    weight: str | None = None,
    twin: str | None = None,
    pair: str | None = None,
    name: str | None = None,
    licence: str = "not stated",
    seed: int = 0,
) -> Corpus:
    """A corpus out of one file or, where `path` holds "{split}", one each for train, dev and test.

    The other arguments up to `pair` name columns, or keys of JSON lines. With `many` a row has any number of labels:
    a JSON list, or names joined by `separator`. A text may be a JSON list too, of all that makes one row. `id` stands
    in predictions (else the number of the row); `weight` is a number, 0 or more; `twin` is the text in another
    language (see the function `twin`), `pair` the id of a row that this one translates. Other columns are kept under
    their names; dev and test need no weights and no groups. Space in labels is single, their accents in form NFC.

    A split without a file is drawn out of train by `seed`, its labels in the same shares: a fifth for test, then an
    eighth for dev; rows of one `group`, copies of a text, and a row and its `pair` stay together. Rows beyond 2^27
    characters (500 a row and its texts) stay on disk, but to draw a split takes them into memory: give all three.
    Labels are those of train, in alphabetical order. A mistake is a UserError with file, row and fix.
    """
    named = {"text": text, "label": label, "id": id, "group": group, "weight": weight, "twin": twin, "pair": pair}
    named = {ours: theirs for ours, theirs in named.items() if theirs}
    if len(set(named.values())) < len(named):
        raise UserError(f"{path}: {', '.join(f'{o}={t!r}' for o, t in named.items())}: give each a column of its own")
    if not text or not label:
        raise UserError(f"{path}: text={text!r}, label={label!r}: name both columns")
    if not separator:
        raise UserError(f"{path}: separator is empty: give what stands between labels, or write them as a JSON list")
    paths, splits, numbers, labels, where = _paths(path), {}, {}, set(), {}
    for split, file in paths.items():
        numbers[split] = array("q")  # of the rows in the file
        try:
            splits[split] = kept(_rows(file, split, named, many, separator, numbers[split], labels))
        except UserError:
            if file.suffix in OPENED:
                reading.text(file)  # of a damaged file this is told, not what came out of it
            raise
        if not splits[split]:
            raise UserError(f"{file}: no rows: fill it, or remove it")
    again = repeated(lambda: (row.id for rows in splits.values() for row in rows)) if id else ()
    for split in splits if again else ():
        for number, row in zip(numbers[split], splits[split], strict=True):
            if row.id in where:
                raise bad(paths[split], number, f"the id {row.id!r:.60} is that of {where[row.id]}: make one differ")
            if row.id in again:
                where[row.id] = f"{paths[split]}, row {number}"
    drawn = [split for split in DRAWN if split not in paths]
    others = sorted(set(_alike(path)) - set(paths.values())) if drawn else []
    divided = _divided(splits)
    for split in drawn:
        luck = folded if id is None else lambda row: row.id
        splits[split], splits["train"] = _drawn(splits["train"], DRAWN[split], seed, luck)
    notes = [f"{' and '.join(drawn)} drawn out of {paths['train'].name} by seed {seed}"] * bool(drawn)
    notes += [f"not read: {', '.join(o.name for o in others)} (call them {', '.join(drawn)})"] * bool(others)
    notes += [f"{len(divided)} groups stand in more than one split"] * bool(divided)
    name = name or Path(path).name.split(".")[0].replace("{split}", "").strip("-_") or Path(path).parent.name
    about = {"name": name, "language": language, "labels": tuple(sorted(labels)), "kind": "many" if many else "one"}
    given = {split: splits[split] for split in NAMES}
    return Corpus(**about, licence=licence, note="; ".join(notes), read=lambda _: given)


def twin(corpus: Corpus, language: str) -> Corpus:
    """The same rows in the other language: the texts that stood in the twin column, in the same splits, so that no
    translation of a test row is learned from. UserError if a row has none."""
    splits = {}
    for split, rows in corpus.splits.items():
        if empty := [row.id for row in rows if not _twin(row)]:
            have = f"{corpus.name}: {split} row {empty[0]} has no twin"
            raise UserError(f"{have}: name its column, twin=..., and fill it")
        splits[split] = kept(replace(row, texts=_twin(row), extra={}) for row in rows)
    note = f"the twins of {corpus.name}"
    return replace(corpus, name=f"{corpus.name}-twin", language=language, note=note, read=lambda _: splits)


def _paths(path: str | Path) -> dict[str, Path]:
    """The file of each split that has one; train always has."""
    path, paths = str(Path(path).expanduser()), {}
    for split, names in NAMES.items() if "{split}" in path else ():
        some = [Path(path.replace("{split}", name)) for name in names]
        found = [file for file in some if file.exists()] or some[: split == "train"]
        if len(found) > 1:
            raise UserError(f"{found[0]} and {found[1]}: both are {split}: remove or rename one")
        if found:
            paths[split] = found[0]
    return paths or {"train": Path(path)}


def _alike(path: str | Path) -> Iterator[Path]:
    """The files that stand where "{split}" is anything, and those of a split that have another ending."""
    path = Path(path).expanduser()
    if "{split}" in path.name:
        yield from path.parent.glob(glob.escape(path.name).replace("{split}", "*"))
        stem = path.name[: path.name.index("{split}") + len("{split}")]
        for name in (name for names in NAMES.values() for name in names):
            files = path.parent.glob(f"{glob.escape(stem.replace('{split}', name))}.*")
            yield from (file for file in files if _ending(file) in (".csv", ".tsv", ".jsonl"))


def _ending(path: Path) -> str:
    return (Path(path.stem) if path.suffix in OPENED else path).suffix.lower()


def _records(path: Path, named: Mapping[str, str], may_lack: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number, object): the columns that are `named` under our names, the others under their own."""
    ending, needed = _ending(path), [column for ours, column in named.items() if ours not in may_lack]
    if ending == ".jsonl":
        rows = _json_lines(path)
    elif ending in (".csv", ".tsv"):
        fields = quoted(path, separator="," if ending == ".csv" else "\t")
        _, header = next(fields, (1, []))
        if not header:
            raise bad(path, 1, "the file is empty: its first line must name the columns")
        if twice := [column for column in header if header.count(column) > 1]:
            raise bad(path, 1, f"two columns are called {twice[0]!r:.60}: rename one")
        if absent := [column for column in needed if column not in header]:
            have = f"no column {absent[0]!r}{hint(absent[0], header)}"
            if len(header) == 1 and (signs := [sign for sign in (";", "\t", "|") if sign in header[0]]):
                raise bad(path, 1, f"{have}: its columns are divided by {signs[0]!r}: save it with commas, or as .tsv")
            columns = ", ".join(column if column.isprintable() else ascii(column) for column in header)
            raise bad(path, 1, f"{have}: say which of {columns} it is")
        rows = ((number, dict(zip(header, record, strict=True))) for number, record in fields)
    else:
        raise UserError(f"{path}: rocl reads .csv, .tsv and .jsonl, also packed as .gz or .xz: rename or convert it")
    for number, record in rows:
        if absent := [key for key in needed if key not in record]:
            raise bad(path, number, f"no key {absent[0]!r}{hint(absent[0], list(record))}: every line needs it")
        if ending == ".tsv" and any("\n" in field and "\t" in field for field in record.values()):
            raise bad(path, number, 'a field holds several lines and tabs: close its ", or write it twice')
        ours = {name: record[column] for name, column in named.items() if column in record}
        others = {column: value for column, value in record.items() if column not in named.values()}
        yield number, ours | {f"{column} (not named)" if column in OURS else column: v for column, v in others.items()}


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(streamed(path), 1):
        line = line.removesuffix("\n").removesuffix("\r")
        if not line.strip():
            continue  # as in .csv
        try:
            record = json.loads(line, object_pairs_hook=partial(_once, path, number))
        except (ValueError, RecursionError) as error:
            raise bad(path, number, f"not JSON ({error}): mend or remove the line") from error
        if not isinstance(record, dict):
            raise bad(path, number, 'not a JSON object: write {"text": ..., "label": ...}')
        yield number, record


def _once(path: Path, number: int, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs, none of which overwrites another."""
    if twice := [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]:
        raise bad(path, number, f"two keys are called {twice[0]!r:.60}: rename one")
    return dict(pairs)


def _rows(
    path: Path, split: str, named: Mapping[str, str], many: bool, separator: str, numbers: array, labels: set[str]
) -> Iterator[Row]:
    """The rows of a file. Notes their numbers in it and, of train, the labels, which are all that others may have."""
    for number, record in _records(path, named, TOLD if split != "train" else ()):
        row = _row(path, f"{split}-{number}", many, separator, number, record)
        strange = [label for label in row.labels if label not in labels]
        if strange and split != "train":
            have = f"no training row has the label {strange[0]!r:.60}{hint(strange[0], sorted(labels))}"
            raise bad(path, number, f"{have}: mend it, or add training rows of it")
        labels.update(strange)
        numbers.append(number)
        yield row


def _row(path: Path, default: str, many: bool, separator: str, number: int, record: dict[str, Any]) -> Row:
    texts, labels = record.pop("text"), record.pop("label")
    texts = texts if isinstance(texts, list) else [texts]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise bad(path, number, "the text is empty or no text: fill it, or remove the row")
    if many and isinstance(labels, str | list):
        labels = _listed(labels, separator) if isinstance(labels, str) else labels
        labels = [_plain(str(name)) if isinstance(name, str | int) else name for name in labels]
        labels = [name for name in labels if name != ""]
    elif not many:
        if isinstance(labels, str) and labels.lstrip().startswith('["'):
            raise bad(path, number, "the label is a JSON list: say many=True")
        labels = [_plain(str(labels)) if isinstance(labels, str | int) else labels]
    if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
        fix = 'write names or a JSON list, ["a", "b"]' if many else "fill it, or remove the row; or say many=True"
        raise bad(path, number, f"the label is no name: {fix}")
    if (id := record.pop("id", default)) in ("", None):
        raise bad(path, number, "the id is empty: fill it, or name no column of ids")
    twin = record.get("twin")
    if not (twin is None or isinstance(twin, str) or isinstance(twin, list) and all(isinstance(t, str) for t in twin)):
        raise bad(path, number, "the twin is no text: write a text, or a list of texts")
    if "weight" in record:
        record["weight"] = _weight(path, number, record["weight"])
    row = Row(str(id), tuple(texts), tuple(dict.fromkeys(labels)), record)
    try:
        json.dumps([row.id, row.texts, row.labels, record], ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise bad(path, number, "half a surrogate pair, which is no character: mend it, or remove the row") from error
    return row


def _plain(label: str) -> str:
    """A label as it is written when space and the way accents are stored do not count."""
    return " ".join(unicodedata.normalize("NFC", label).split())


def _twin(row: Row) -> tuple[str, ...]:
    """The texts of the twin column, of which none is empty; () where there are none."""
    twin = row.extra.get("twin") or []
    twin = [twin] if isinstance(twin, str) else twin
    return tuple(twin) if all(text.strip() for text in twin) else ()


def _listed(labels: str, separator: str) -> list[str]:
    """The names in a field: those of a JSON list, else what the separator stands between."""
    if not labels.lstrip().startswith("["):
        return labels.split(separator)
    try:
        return json.loads(labels)
    except (ValueError, RecursionError):
        return [None]  # which is no name


def _weight(path: Path, number: int, value: Any) -> float:
    try:
        weight = float(value)
    except (TypeError, ValueError, OverflowError):
        weight = math.nan
    if not 0 <= weight <= float(np.finfo(np.float32).max):
        raise bad(path, number, f"the weight is {value!r:.60}: write a number, 0 or more")
    return weight


def _drawn(rows: list[Row], share: float, seed: int, luck: Callable[[Row], str]) -> tuple[list[Row], list[Row]]:
    """The rows of a new split and those left. A row stands for its rarest label: where rows have many, sets of labels
    are too many to keep the share of each."""
    counts = Counter(label for row in rows for label in row.labels)
    groups, labels = _groups(rows), {}
    for row in rows:
        labels.setdefault(groups[row.id], []).extend(row.labels)
    rarest = {group: min(of, key=lambda label: (counts[label], label), default="") for group, of in labels.items()}
    return draw_groups(rows, share, lambda row: rarest[groups[row.id]], lambda row: groups[row.id], seed, luck=luck)


def _group(row: Row) -> list[tuple[str, str]]:
    """The group of a row, where it has one."""
    group = row.extra.get("group")
    return [] if group is None or not (name := str(group).strip()) else [("group", name)]


def _divided(splits: Splits) -> set[tuple[str, str]]:
    """Groups that stand in several of the splits."""
    found = Counter(group for rows in splits.values() for group in {group for row in rows for group in _group(row)})
    return {group for group, times in found.items() if times > 1}


def _groups(rows: Sequence[Row]) -> dict[str, int]:
    """A number for each row by id, the same for rows that must not be divided: of one group, text or twin, or pairs."""
    keys: dict[tuple[str, str], int] = {}  # texts, groups and ids, as points of a graph behind the rows
    edges = []
    for place, row in enumerate(rows):
        has = [("text", folded(row)), ("id", row.id), *_group(row)]
        has += [("twin", folded(replace(row, texts=twin)))] if (twin := _twin(row)) else []
        has += [("id", str(pair))] if (pair := row.extra.get("pair")) not in (None, "") else []
        edges += [(place, keys.setdefault(key, len(rows) + len(keys))) for key in has]
    points = len(rows) + len(keys)
    graph = coo_array((np.ones(len(edges)), np.array(edges).reshape(-1, 2).T), shape=(points, points))
    _, numbers = connected_components(graph, directed=False)
    return {row.id: int(number) for row, number in zip(rows, numbers[: len(rows)], strict=True)}
