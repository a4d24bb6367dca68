"""A corpus of your own, in any language: CSV, TSV or JSON lines, plain, .gz or .xz."""

import glob
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import OPENED, bad, lines, quoted
from rocl.data.splits import draw_groups
from rocl.data.task import folded
from rocl.errors import UserError, hint

NAMES = {"train": ("train",), "dev": ("dev", "valid", "validation", "val"), "test": ("test",)}  # what "{split}" may be
OURS = ("text", "label", "id", "group", "weight", "twin", "pair")  # what a column may be
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
    language (see the function `twin`), `pair` the id of a row that this one translates. Rows of one `group`, and copies
    of a text, stay in one split. Other columns are kept under their names.

    A split without a file is drawn out of train by `seed`, its labels in the same shares: a fifth for test, then an
    eighth for dev. Labels are those of train, in alphabetical order. A mistake is a UserError with file, row and fix.
    """
    named = {"text": text, "label": label, "id": id, "group": group, "weight": weight, "twin": twin, "pair": pair}
    named = {ours: theirs for ours, theirs in named.items() if theirs}
    if len(set(named.values())) < len(named):
        raise UserError(f"{path}: {', '.join(f'{o}={t!r}' for o, t in named.items())}: give each a column of its own")
    if not separator:
        raise UserError(f"{path}: separator is empty: give what stands between labels, or write them as a JSON list")
    paths, splits, where = _paths(path), {}, {}
    for split, file in paths.items():
        splits[split] = []
        for number, record in _records(file, named):
            row = _row(file, f"{split}-{number}", many, separator, number, record)
            if row.id in where:
                raise bad(file, number, f"the id {row.id} is that of {where[row.id]}: make one differ")
            where[row.id] = f"{file}, row {number}"
            splits[split].append(row)
    labels = sorted({label for row in splits["train"] for label in row.labels})
    for row in [row for rows in splits.values() for row in rows]:
        if strange := [label for label in row.labels if label not in labels]:
            have = f"no training row has the label {strange[0]!r}{hint(strange[0], labels)}"
            raise UserError(f"{where[row.id]}: {have}: mend it, or add training rows of it")
    drawn = [split for split in DRAWN if split not in paths]
    others = sorted(set(_alike(path)) - set(paths.values())) if drawn else []
    for split in drawn:
        splits[split], splits["train"] = _drawn(splits["train"], DRAWN[split], seed, folded if id is None else _id)
    return Corpus(
        name=name or Path(path).name.split(".")[0].replace("{split}", "").strip("-_") or Path(path).parent.name,
        language=language,
        labels=tuple(labels),
        kind="many" if many else "one",
        licence=licence,
        note=f"{' and '.join(drawn)} drawn out of {paths['train'].name} by seed {seed}" * bool(drawn)
        + f"; not read: {', '.join(other.name for other in others)} (call them {', '.join(drawn)})" * bool(others),
        read=partial(_given, {split: splits[split] for split in NAMES}),
    )


def twin(corpus: Corpus, language: str) -> Corpus:
    """The same rows in the other language: the texts that stood in the twin column, in the same splits, so that no
    translation of a test row is learned from. UserError if a row has none."""
    splits = {}
    for split, rows in corpus.splits.items():
        if empty := [row.id for row in rows if not str(row.extra.get("twin") or "").strip()]:
            raise UserError(
                f"{corpus.name}: {split} row {empty[0]} has no twin: name its column, twin=..., and fill it"
            )
        splits[split] = [replace(row, texts=(str(row.extra["twin"]),), extra={}) for row in rows]
    note = f"the twins of {corpus.name}"
    return replace(corpus, name=f"{corpus.name}-twin", language=language, note=note, read=partial(_given, splits))


def _given(splits: Splits, _: Mapping[str, Path]) -> Splits:
    return splits


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
    """The files that stand where "{split}" is anything."""
    path = Path(path).expanduser()
    return path.parent.glob(glob.escape(path.name).replace("{split}", "*")) if "{split}" in path.name else iter(())


def _records(path: Path, named: Mapping[str, str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number, object): the columns that are `named` under our names, the others under their own."""
    ending = Path(path.stem).suffix if path.suffix in OPENED else path.suffix
    if ending == ".jsonl":
        rows = _json_lines(path)
    elif ending in (".csv", ".tsv"):
        fields = quoted(path, separator="," if ending == ".csv" else "\t")
        _, header = next(fields, (1, []))
        if not header:
            raise bad(path, 1, "the file is empty: its first line must name the columns")
        if twice := [column for column in header if header.count(column) > 1]:
            raise bad(path, 1, f"two columns are called {twice[0]!r}: rename one")
        if absent := [column for column in named.values() if column not in header]:
            have = f"no column {absent[0]!r}{hint(absent[0], header)}"
            if len(header) == 1 and (signs := [sign for sign in (";", "\t", "|") if sign in header[0]]):
                raise bad(path, 1, f"{have}: its columns are divided by {signs[0]!r}: save it with commas, or as .tsv")
            raise bad(path, 1, f"{have}: say which of {', '.join(header)} it is")
        rows = ((number, dict(zip(header, record, strict=True))) for number, record in fields)
    else:
        raise UserError(f"{path}: rocl reads .csv, .tsv and .jsonl, also packed as .gz or .xz: rename or convert it")
    for number, record in rows:
        if absent := [key for key in named.values() if key not in record]:
            raise bad(path, number, f"no key {absent[0]!r}{hint(absent[0], list(record))}: every line needs it")
        ours = {name: record[column] for name, column in named.items()}
        others = {column: value for column, value in record.items() if column not in named.values()}
        yield number, ours | {f"{column} (not named)" if column in OURS else column: v for column, v in others.items()}


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines(path), 1):
        if not line.strip():
            continue  # as in .csv
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise bad(path, number, f"not JSON ({error}): mend or remove the line") from error
        if not isinstance(record, dict):
            raise bad(path, number, 'not a JSON object: write {"text": ..., "label": ...}')
        yield number, record


def _row(path: Path, default: str, many: bool, separator: str, number: int, record: dict[str, Any]) -> Row:
    texts, labels = record.pop("text"), record.pop("label")
    texts = texts if isinstance(texts, list) else [texts]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise bad(path, number, "the text is empty or no text: fill it, or remove the row")
    if many and isinstance(labels, str | list):
        labels = _listed(labels, separator) if isinstance(labels, str) else labels
        labels = [str(name) if isinstance(name, int) else name for name in labels]
        labels = [name.strip() if isinstance(name, str) else name for name in labels]
        labels = [name for name in labels if name != ""]
    elif not many:
        labels = [labels.strip() if isinstance(labels, str) else str(labels) if isinstance(labels, int) else labels]
    if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
        fix = 'write names or a JSON list, ["a", "b"]' if many else "fill it, or remove the row; or say many=True"
        raise bad(path, number, f"the label is no name: {fix}")
    id = record.pop("id", default)
    if "weight" in record:
        record["weight"] = _weight(path, number, record["weight"])
    row = Row(str(id), tuple(texts), tuple(dict.fromkeys(labels)), record)
    try:
        json.dumps([row.id, row.texts, row.labels, record], ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise bad(path, number, "half a surrogate pair, which is no character: mend it, or remove the row") from error
    return row


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
    if not 0 <= weight < math.inf:
        raise bad(path, number, f"the weight is {value!r:.60}: write a number, 0 or more")
    return weight


def _id(row: Row) -> str:
    return row.id


def _drawn(rows: list[Row], share: float, seed: int, luck: Callable[[Row], str]) -> tuple[list[Row], list[Row]]:
    """The rows of a new split and those left. A row stands for its rarest label: where rows have many, sets of labels
    are too many to keep the share of each."""
    counts = Counter(label for row in rows for label in row.labels)
    groups = _groups(rows)

    def rarest(row: Row) -> str:
        return min(row.labels, key=lambda label: (counts[label], label), default="")

    return draw_groups(rows, share, rarest, lambda row: groups[row.id], seed, luck=luck)


def _groups(rows: Sequence[Row]) -> dict[str, int]:
    """A number for each row by id, the same for rows that must not be divided: of one group, text or twin."""
    keys: dict[tuple[str, str], int] = {}  # texts and groups, as points of a graph behind the rows
    edges = []
    for place, row in enumerate(rows):
        twin = folded(replace(row, texts=(str(row.extra.get("twin") or row.id),)))
        for key in (("text", folded(row)), ("twin", twin), ("group", str(row.extra.get("group") or row.id))):
            edges.append((place, keys.setdefault(key, len(rows) + len(keys))))
    points = len(rows) + len(keys)
    graph = coo_array((np.ones(len(edges)), np.array(edges).reshape(-1, 2).T), shape=(points, points))
    _, numbers = connected_components(graph, directed=False)
    return {row.id: int(number) for row, number in zip(rows, numbers[: len(rows)], strict=True)}
