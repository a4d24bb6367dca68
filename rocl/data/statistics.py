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

    Texts are compared by hashes, without case, accent form and spacing. `leaks` are training rows whose text stands in
    dev or test too; `conflicts` are training texts that carry different labels.
    """
    found = {split: _split(task.rows(split), task.labels) for split in task.corpus.splits}
    keys = {split: own for split, (own, _) in found.items()}
    train = keys.pop("train", np.empty((0, 2), np.int64))
    different = np.unique(train, axis=0)  # (pairs, 2)
    _, texts = np.unique(different[:, 0], return_counts=True)  # (texts,) how many sets of labels each has
    corpus = task.corpus
    about = {"corpus": corpus.name, "digest": corpus.digest, "judged_on": task.judged_on, "language": task.language}
    about |= {"licence": corpus.licence, "note": corpus.note}
    return about | {
        "splits": {split: told for split, (_, told) in found.items()},
        "duplicates": len(train) - len(texts),
        "conflicts": int((texts > 1).sum()),
        "leaks": {split: int(np.isin(train[:, 0], own[:, 0]).sum()) for split, own in keys.items()},
        "drop_leaks": task.drop_leaks,
    }


def _split(rows: Sequence[Row], labels: Sequence[str]) -> tuple[np.ndarray, dict[str, Any]]:
    """Hashes of every row's text and labels, (rows, 2), and what is told of them."""
    keys, words = np.zeros((len(rows), 2), np.int64), np.zeros(max(len(rows), 1), np.int64)
    counts, sizes = Counter(), Counter()
    for number, row in enumerate(rows):
        text = folded(row)
        keys[number] = hash(text), hash(frozenset(row.labels))
        words[number] = len(text.split())
        counts.update(row.labels)
        sizes[len(row.labels)] += 1
    return keys, {
        "rows": len(rows),
        "labels": {label: counts[label] for label in labels},
        "labels per row": {str(size): n for size, n in sorted(sizes.items())},
        "empty": int((words[: len(rows)] == 0).sum()),
        "words": {name: round(float(np.quantile(words, q)), 1) for name, q in QUANTILES.items()},
    }
