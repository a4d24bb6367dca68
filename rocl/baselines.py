"""Scores that cost nothing, on the same rows as every system: the majority, and TF-IDF with logistic regression.

Both give {split: scores} for dev and test, as `metrics.scores` does, and the same ones every time; `most_frequent` and
`regressed` give what is behind them. The same regression over an encoder's vectors is a linear probe. C labels.
"""

from collections.abc import Callable

import numpy as np
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from rocl.data.task import Task
from rocl.data.text import characters
from rocl.metrics import DRAWS, dev_thresholds, scores

Scores = dict[str, dict[str, float]]
Said = tuple[dict[str, np.ndarray], np.ndarray | None]  # logits (rows, C) of each held-out split; thresholds (C,)


def majority(task: Task) -> Scores:
    """Scores of saying the label that is most frequent in train, and no other, of every row."""
    return scored(task, *most_frequent(task))


def tfidf(task: Task) -> Scores:
    """Scores of logistic regression over TF-IDF of words and characters: see `regressed`."""
    return scored(task, *regressed(task))


def most_frequent(task: Task) -> Said:
    """Of every row the label that is most frequent in train, and no other."""
    said = np.arange(len(task.labels)) == task.gold("train").sum(0).argmax()  # (C,)
    return {split: certain(said, len(task.rows(split))) for split in held_out(task)}, None


def regressed(task: Task) -> Said:
    """Logistic regression over TF-IDF of words and pairs of words, and of 2 to 5 characters within words.

    One regression a label against the rest, C = 10; of kind "one" the surest label is taken, of kind "many" all that
    reach thresholds tuned on dev.
    """
    options = {"sublinear_tf": True, "dtype": np.float32}
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **options)
    words = TfidfVectorizer(token_pattern=words_of_any_script(), ngram_range=(1, 2), **options)
    some = any(map(words.build_analyzer(), texts(task, "train")))  # texts of signs alone have no words
    vectorizer = make_union(words, characters) if some else characters
    train = vectorizer.fit_transform(texts(task, "train")).tocsr()
    linear = LogisticRegression(C=10, solver="liblinear", dual=True, tol=0.01, max_iter=1000, random_state=0)
    said = regression(linear, train, task.gold("train"))
    logits = {split: said(vectorizer.transform(texts(task, split)).tocsr()) for split in held_out(task)}
    return logits, dev_thresholds(task.gold("dev"), logits["dev"], task.kind) if "dev" in logits else None


def words_of_any_script() -> str:
    """A pattern of words of two letters and more; unlike `\\w` it knows the marks that spell many scripts' vowels."""
    return rf"\b\w[\w{characters('M')}]+"


def probe(train: np.ndarray, gold: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What a linear probe, learnt from vectors (rows, D) and gold (rows, C), says of others: logits (rows, C)."""
    return regression(make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)), train, gold)


def regression(model, train, gold: np.ndarray) -> Callable:
    """What a regression for each label against the rest says of features: logits (rows, C)."""
    always = gold.all(0)  # (C,)
    learned = np.flatnonzero(gold.any(0) & ~always)  # the others leave nothing to learn
    models = {label: clone(model).fit(train, gold[:, label]) for label in learned}

    def logits(features) -> np.ndarray:
        said = certain(always, features.shape[0])
        for label, fitted in models.items():
            said[:, label] = fitted.decision_function(features)
        return said

    return logits


def held_out(task: Task) -> list[str]:
    """The splits that have rows to be scored."""
    return [split for split in ("dev", "test") if len(task.rows(split))]


def texts(task: Task, split: str) -> list[str]:
    return ["\n".join(row.texts) for row in task.rows(split)]


def certain(said: np.ndarray, rows: int) -> np.ndarray:
    """Logits (rows, C) that say these labels (C,) of every row, beyond doubt."""
    return np.tile(np.where(said, 100.0, -100.0), (rows, 1))


def scored(task: Task, logits: dict[str, np.ndarray], thresholds: np.ndarray | None) -> Scores:
    draws = {"dev": 0, "test": DRAWS}
    return {s: scores(task.gold(s), said, task.labels, task.kind, thresholds, draws[s]) for s, said in logits.items()}
