"""What a corpus is: rows of text with gold labels, in splits, read from files whose checksums are known."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from rocl import download
from rocl.data.streams import digest, in_order, joined, repeated
from rocl.errors import UserError


@dataclass(frozen=True, slots=True)
class Row:
    """What has labels: one text normally, two for a pair, many for a long document."""

    id: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]  # names; exactly one where the corpus is of kind "one", none where nothing is known
    extra: Mapping[str, str | int | float] = field(default_factory=dict)  # what else the source says: dialect, stars


SPLITS = ("train", "dev", "test")
Splits = Mapping[str, Sequence[Row]]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Rows in splits ("train", "dev", "test"), read when first asked for.

    `read` takes the verified paths by file name and returns the splits; a bad file is a `UserError`
    that names file and row.
    """

    name: str
    language: str  # ISO 639-1
    labels: tuple[str, ...]
    kind: str = "one"  # of labels: "one" or "many" a row
    licence: str
    note: str = ""  # what reading it joins, cleans, drops or draws; printed with its statistics
    files: tuple[download.File, ...] = ()
    read: Callable[[Mapping[str, Path]], Splits]

    @cached_property
    def splits(self) -> Splits:
        splits = self.read({file.name: download.fetch(file) for file in self.files})
        known, ids, names = set(self.labels), set(), ", ".join(self.labels)
        if len(known) < len(self.labels):
            raise UserError(f"{self.name}: a label is declared twice: {names}")
        again = repeated(lambda: (row.id for rows in splits.values() for row in rows))
        for split, rows in splits.items():
            for number, row in enumerate(rows, 1):
                if row.id in ids:
                    raise UserError(f"{self.name}: {split} row {number} has the id {row.id} of another row")
                if row.id in again:
                    ids.add(row.id)
                where = f"{self.name}: {split} row {number} (id {row.id})"
                if not row.texts:
                    raise UserError(f"{where} has no text")
                if strange := [label for label in row.labels if label not in known]:
                    raise UserError(f"{where} has the label {strange[0]!r}, which is not one of {names}")
                if self.kind == "one" and len(row.labels) > 1:
                    raise UserError(f'{where} has {len(row.labels)} labels, but the corpus is of kind "one"')
        return splits

    @cached_property
    def digest(self) -> str:
        """Hex digest over the sorted (split, texts, labels): the same corpus in another container has the same."""
        every = ((split, row) for split, rows in self.splits.items() for row in rows)
        lines = (json.dumps([split, row.texts, sorted(row.labels)], ensure_ascii=False) for split, row in every)
        return digest(joined(in_order(lines), "\n"))[:16]

    def counts(self, split: str) -> dict[str, int]:
        """How many rows of a split carry each label, in the order of the labels."""
        counts = Counter(label for row in self.splits[split] for label in row.labels)
        return {label: counts[label] for label in self.labels}
