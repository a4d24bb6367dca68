"""What a task's rows are like, as numbers: for the check before a run and for the run folder."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from rocl.data.corpus import Row
from rocl.data.task import Task, folded

QUANTILES = {"min": 0, "p10": 0.1, "median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1}


def statistics(task: Task) -> dict[str, Any]:
    """JSON-serialisable counts: rows, labels and lengths of every split, empties, copies, leaks. Drops nothing.

    Texts are compared without case, accent form and spacing. `leaks` are training rows whose text also stands in dev
    or test; `conflicts` are training texts that carry different labels.
    """
    splits = {split: task.rows(split) for split in task.corpus.splits}
    texts = {split: [folded(row) for row in rows] for split, rows in splits.items()}
    held_out = {split: set(of_split) for split, of_split in texts.items() if split != "train"}
    train, labels = texts.get("train", []), {}
    for text, row in zip(train, splits.get("train", []), strict=True):
        labels.setdefault(text, set()).add(frozenset(row.labels))
    corpus = task.corpus
    about = {"corpus": corpus.name, "digest": corpus.digest, "judged_on": task.judged_on, "language": task.language}
    about |= {"licence": corpus.licence, "note": corpus.note}
    return about | {
        "splits": {split: _split(rows, texts[split], task.labels) for split, rows in splits.items()},
        "duplicates": len(train) - len(set(train)),
        "conflicts": sum(len(sets) > 1 for sets in labels.values()),
        "leaks": {split: sum(text in set_ for text in train) for split, set_ in held_out.items()},
        "drop_leaks": task.drop_leaks,
    }


def _split(rows: Sequence[Row], texts: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    counts = Counter(label for row in rows for label in row.labels)
    words = [len(text.split()) for text in texts] or [0]
    return {
        "rows": len(rows),
        "labels": {label: counts[label] for label in labels},
        "labels per row": {str(size): n for size, n in sorted(Counter(len(row.labels) for row in rows).items())},
        "empty": sum(not text for text in texts),
        "words": {name: round(float(np.quantile(words, q)), 1) for name, q in QUANTILES.items()},
    }
