"""What is learned: a corpus, its labels, and any further column of its rows; and plain functions that cut it."""

import hashlib
import json
import random
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from numbers import Integral

import numpy as np

from rocl.data.corpus import Corpus, Row
from rocl.data.stored import picked
from rocl.data.streams import digest, listed
from rocl.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Task:
    """A corpus to be learned under a name; `kind` says whether a row has one label or many.

    `columns` holds further numbers of the training rows, one array (rows, ...) a name, in their order: soft
    labels, weights. `cuts` choose among the training rows (folds, samples, active learning), one after the other;
    they are made when the rows are first asked for, so that a task can be named before its files are there.
    """

    name: str
    corpus: Corpus
    max_length: int = 128  # tokens, special ones included
    metric: str | None = "macro_f1"  # what the best checkpoint is chosen by, on dev; None: by the other tasks alone
    drop_leaks: bool = False  # take training rows out whose text stands in dev or test
    cuts: tuple[Callable[[Sequence[str]], Sequence[str]], ...] = ()  # each from ids to those that are kept, in order
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        if not self.name or set(self.name) & set("/\\.\0"):
            raise UserError(f"a task cannot be called {self.name!r}: files and heads take its name, choose another")
        if not (isinstance(self.max_length, Integral) and self.max_length > 0):
            raise UserError(f"task {self.name}: max_length is {self.max_length!r}: give a whole number of tokens")

    @property
    def labels(self) -> tuple[str, ...]:
        return self.corpus.labels

    @property
    def kind(self) -> str:
        return self.corpus.kind

    @property
    def language(self) -> str:
        return self.corpus.language

    def rows(self, split: str) -> Sequence[Row]:
        """The rows of a split; of train only those that this task keeps."""
        return self._train if split == "train" else self.corpus.splits.get(split, [])

    @cached_property
    def _train(self) -> Sequence[Row]:
        rows = self.corpus.splits.get("train", [])
        if not (self.drop_leaks or self.cuts):
            return rows
        stay = ((n, row) for n, row in enumerate(rows) if not self.drop_leaks or folded(row) not in self.leaks)
        places = {row.id: n for n, row in stay}
        ids: Sequence[str] = list(places)
        for cut in self.cuts:
            ids = cut(ids)
        return picked(rows, [places[id] for id in ids])

    @cached_property
    def leaks(self) -> frozenset[str]:
        """The folded texts of the corpus's training rows that also stand in its dev or test rows."""
        held_out = {folded(row) for split in ("dev", "test") for row in self.corpus.splits.get(split, [])}
        return frozenset(held_out.intersection(map(folded, self.corpus.splits.get("train", []))))

    @cached_property
    def rows_digest(self) -> str:
        """Hex digest of the rows, in their order, and labels: what a baseline learns from."""
        rows = ([row.id, row.texts, sorted(row.extra.items())] for row in self.rows("train"))
        return _digest(rows, self.corpus.name, self.corpus.digest, self.labels, self.kind)

    @cached_property
    def judged_on(self) -> str:
        """Hex digest of the test rows: what systems have in common that are compared, whatever they learned from."""
        return _digest(([row.id, row.texts, sorted(row.labels)] for row in self.rows("test")), self.labels)

    @cached_property
    def digest(self) -> str:
        """Hex digest of everything that decides what is learned from this task."""
        columns = {n: hashlib.sha256(np.ascontiguousarray(c).tobytes()).hexdigest() for n, c in self.columns.items()}
        values = [self.name, self.rows_digest, self.max_length, self.metric, sorted(columns.items())]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]

    def gold(self, split: str) -> np.ndarray:
        """Gold labels as 0/1, (rows, labels) uint8."""
        index = {label: number for number, label in enumerate(self.labels)}
        gold = np.zeros((len(self.rows(split)), len(self.labels)), np.uint8)
        for number, row in enumerate(self.rows(split)):
            gold[number, [index[label] for label in row.labels]] = 1
        return gold


def _digest(rows: Iterable[object], *before: object) -> str:
    """Of what `json.dumps` makes of [*before, [*rows]]."""
    return digest(chain([json.dumps(before)[:-1], ", "], listed(rows), ["]"]))[:16]


def folded(row: Row) -> str:
    """The row's text without case, accent form or spacing: what two copies of a text have in common."""
    return " ".join(unicodedata.normalize("NFC", "\n".join(row.texts)).casefold().split())


def cut(task: Task, choose: Callable[[Sequence[str]], Sequence[str]]) -> Task:
    """The task with the training rows whose ids are chosen; columns it has follow them."""
    return followed(replace(task, cuts=(*task.cuts, choose)), task)


def followed(made: Task, task: Task) -> Task:
    """A task made of another with the columns of that one: of each training row those of the row of its id or, of a
    variant `id~n`, of the row it was made of."""
    if not task.columns:
        return made
    place = {row.id: number for number, row in enumerate(task.rows("train"))}
    index = [place[row.id if row.id in place else row.id.rpartition("~")[0]] for row in made.rows("train")]
    return replace(made, columns={name: values[index] for name, values in task.columns.items()})


def rows(task: Task, ids: Sequence[str]) -> Task:
    """The task with only these training rows, in this order."""

    def these(have: Sequence[str]) -> Sequence[str]:
        if strange := set(ids).difference(have):
            raise UserError(f"{task.name}: no training row of {task.corpus.name} has the id {min(strange)!r}")
        return ids

    return cut(task, these)


def sample(task: Task, size: int | float, seed: int = 0) -> Task:
    """The task with at most `size` training rows (of a float: that share of them), drawn without replacement by a seed
    of their own."""

    def draw(ids: Sequence[str]) -> Sequence[str]:
        count = round(size * len(ids)) if isinstance(size, float) else size
        if len(ids) <= count:
            return ids
        chosen = set(random.Random(f"{seed} {task.name}").sample(ids, count))
        return [id for id in ids if id in chosen]

    return cut(task, draw)


def fold(task: Task, i: int, k: int, *, held_out: bool = False, seed: int = 0) -> Task:
    """The task without the i-th of k parts of its training rows (0-based); with `held_out`, that part alone.

    The parts are drawn by a fixed seed, whatever the run's, so that k specialists cover every row once.
    """
    if not 0 <= i < k:
        raise UserError(f"fold {i} of {k}: count from 0 to {k - 1}")

    def part(ids: Sequence[str]) -> Sequence[str]:
        order = list(range(len(ids)))
        random.Random(f"{seed} {task.name}").shuffle(order)
        drawn = set(order[i::k])
        return [id for number, id in enumerate(ids) if (number in drawn) == held_out]

    return cut(task, part)


def column(task: Task, **columns: np.ndarray) -> Task:
    """The task with further columns of its training rows, each (training rows, ...)."""
    for name, values in columns.items():
        if len(values) != len(task.rows("train")):
            raise UserError(f"{task.name}: column {name} has {len(values)} rows, train has {len(task.rows('train'))}")
    return replace(task, columns={**task.columns, **columns})


def extra(task: Task, name: str) -> np.ndarray:
    """What the source says of each training row under a name, as float32 (training rows,): weights, stars."""
    try:
        return np.array([row.extra[name] for row in task.rows("train")], np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{task.name}: not every training row has a number called {name!r} ({error})") from error
