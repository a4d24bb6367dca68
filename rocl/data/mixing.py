"""Rows of another corpus, in another language or of another source, among a task's own: one head serves both."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from rocl.data.corpus import Row, Splits
from rocl.data.task import Task, folded
from rocl.data.text import licences
from rocl.errors import UserError


def shared(task: Task, other: Task, names: Mapping[str, str]) -> Task:
    """The task with the other's training rows behind its own; dev and test are its own alone.

    `names` says which of the other's labels mean which of the task's. Rows of the other with none of these, and where
    the task drops leaks those of its dev and test texts, are left out, counted and told. Two columns come with it:
    `known` (rows, C), 1 where a row says whether it has the label, which of the other's rows are those in `names` alone
    (see `losses.classify`); and `domain` (rows,), 1 for the other's rows. Columns that both have are put together.
    """
    strange = [n for n in names if n not in other.labels] + [n for n in names.values() if n not in task.labels]
    if strange:
        raise UserError(f"{task.name}: {strange[0]!r} is no label of {other.name} or {task.name}: correct the names")
    own, theirs, kept = list(task.rows("train")), other.rows("train"), []
    held_out = {folded(row) for split in ("dev", "test") for row in task.rows(split) if task.drop_leaks}
    for number, row in enumerate(theirs):
        labels = tuple(dict.fromkeys(names[label] for label in row.labels if label in names))
        if (len(labels) == 1 or (labels and task.kind == "many")) and folded(row) not in held_out:
            kept.append((number, Row(f"{other.name}/{row.id}", row.texts, labels, row.extra)))
    note = f"{len(kept)} training rows of {other.corpus.name} joined, {len(theirs) - len(kept)} left out "
    note += f"(their labels taken over: {', '.join(f'{a} as {b}' for a, b in names.items())})"
    print(f"{task.name}: {note}", file=sys.stderr)
    splits = {**task.corpus.splits, "train": own + [row for _, row in kept]}
    known = np.ones((len(splits["train"]), len(task.labels)), np.float32)
    known[len(own) :] = [label in names.values() for label in task.labels]
    taken, both = [number for number, _ in kept], task.columns.keys() & other.columns.keys()
    columns = {name: np.concatenate([task.columns[name], other.columns[name][taken]]) for name in both}
    if lost := task.columns.keys() ^ columns.keys():
        raise UserError(f"{task.name}: {other.name} has no column {min(lost)!r}: add it, or add it to both afterwards")
    domain = (np.arange(len(known)) >= len(own)).astype(np.float32)
    name, licence = f"{task.corpus.name}+{other.corpus.name}", licences([task.corpus, other.corpus])
    note = "; ".join(filter(None, (task.corpus.note, note)))
    corpus = replace(task.corpus, name=name, licence=licence, note=note, files=(), read=lambda _: splits)
    columns |= {"known": known, "domain": domain}
    return replace(task, corpus=corpus, cuts=(), drop_leaks=False, columns=columns)


def unlabelled(task: Task, name: str) -> Task:
    """The training texts of a task as bare text, by which no weights are chosen: what may be known of a language that
    has no labels."""
    corpus = replace(task.corpus, kind="text", labels=(), read=partial(_bare, task))
    return replace(task, name=name, corpus=corpus, metric=None, cuts=(), drop_leaks=False, columns={})


def _bare(task: Task, _: Mapping[str, Path]) -> Splits:
    return {"train": [replace(row, labels=()) for row in task.rows("train")]}
