"""Scores that cost nothing, on the same rows as every system: the majority, and TF-IDF with logistic regression.

Both give {split: scores} for dev and test, as `metrics.scores` does, and the same ones every time. C labels.
"""

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_union

from rocl.data.task import Task
from rocl.metrics import fit_thresholds, probabilities, scores

Scores = dict[str, dict[str, float]]


def majority(task: Task) -> Scores:
    """Scores of saying the label that is most frequent in train, and no other, of every row."""
    frequent = task.gold("train").sum(0).argmax()
    said = np.arange(len(task.labels)) == frequent  # (C,)
    return {split: scored(task, split, certain(said, len(task.rows(split)))) for split in held_out(task)}


def tfidf(task: Task) -> Scores:
    """Scores of logistic regression over TF-IDF of words and pairs of words, and of 2 to 5 characters within words.

    One regression a label against the rest, C = 10; of kind "one" the surest label is taken, of kind "many" all that
    reach thresholds tuned on dev.
    """
    vectorizer = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, dtype=np.float32),
    )
    gold, train = task.gold("train"), vectorizer.fit_transform(texts(task, "train")).tocsr()
    features = {split: vectorizer.transform(texts(task, split)).tocsr() for split in held_out(task)}
    always = gold.all(0)  # (C,)
    logits = {split: certain(always, rows.shape[0]) for split, rows in features.items()}
    for label in np.flatnonzero(gold.any(0) & ~always):  # the others leave nothing to learn
        model = LogisticRegression(C=10, solver="liblinear", dual=True, tol=0.01, max_iter=1000, random_state=0)
        model.fit(train, gold[:, label])
        for split, rows in features.items():
            logits[split][:, label] = model.decision_function(rows)
    thresholds = None
    if task.kind == "many" and "dev" in logits:
        thresholds = fit_thresholds(task.gold("dev"), probabilities(logits["dev"], "many"))
    return {split: scored(task, split, logits[split], thresholds) for split in logits}


def held_out(task: Task) -> list[str]:
    """The splits that have rows to be scored."""
    return [split for split in ("dev", "test") if len(task.rows(split))]


def texts(task: Task, split: str) -> list[str]:
    return ["\n".join(row.texts) for row in task.rows(split)]


def certain(said: np.ndarray, rows: int) -> np.ndarray:
    """Logits (rows, C) that say these labels (C,) of every row, beyond doubt."""
    return np.tile(np.where(said, 100.0, -100.0), (rows, 1))


def scored(task: Task, split: str, logits: np.ndarray, thresholds: np.ndarray | None = None) -> dict[str, float]:
    return scores(task.gold(split), logits, task.labels, task.kind, thresholds)
