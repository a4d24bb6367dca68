"""Scores of one task, decisions and the thresholds behind them. N rows, C labels; everything is numpy.

Macro averages run over all of the task's declared labels: one that is never predicted, or does not occur in the split,
counts as 0. (Averages over only the labels that occur give the same predictions other numbers.)
"""

from collections.abc import Sequence

import numpy as np
from sklearn import metrics as sk

from rocl.decisions import decide, probabilities

DRAWS = 1000  # bootstrap samples behind the intervals of test scores


def scores(
    gold: np.ndarray,
    logits: np.ndarray,
    labels: Sequence[str],
    kind: str,
    thresholds: np.ndarray | float | None = None,
    draws: int = 0,
) -> dict[str, float]:
    """All scores of a split by name, from gold (N, C) 0/1 and logits (N, C); shares in [0, 1], not percent.

    accuracy, {macro,micro}_{precision,recall,f1}, and {precision,recall,f1,support}/<label>; what would divide by zero
    is 0. For kind "many" accuracy is that of whole rows (subset accuracy), hamming_loss is added, and so are the
    figures of the REDv2 evaluation code (Ciobotaru et al., LREC 2022) under redv2_authors/: always at threshold 0.5,
    and with a mean squared error of raw logits against gold, which grows with confidence and measures no quality.
    With `draws` there are 95 % intervals too, {accuracy,macro_f1}/{low,high}: see `intervals`.
    """
    if gold.shape != logits.shape or gold.shape[1:] != (len(labels),) or len(labels) < 2 or len(gold) == 0:
        raise ValueError(f"gold {gold.shape}, logits {logits.shape} and {len(labels)} labels do not fit together")
    if np.isnan(logits).any():
        raise ValueError(f"logits of {int(np.isnan(logits).any(1).sum())} rows are not numbers")
    gold, probable = gold.astype(np.uint8), probabilities(logits, kind)
    predicted = decide(probable, kind, thresholds)
    result = {"accuracy": sk.accuracy_score(gold, predicted)}
    each = sk.precision_recall_fscore_support(gold, predicted, average=None, zero_division=0)  # 4 x (C,)
    micro = sk.precision_recall_fscore_support(gold, predicted, average="micro", zero_division=0)
    for number, name in enumerate(("precision", "recall", "f1")):
        result |= {f"macro_{name}": each[number].mean(), f"micro_{name}": micro[number]}
    for number, name in enumerate(("precision", "recall", "f1", "support")):
        result |= {f"{name}/{label}": value for label, value in zip(labels, each[number], strict=True)}
    if kind == "many":
        halves = decide(probable, kind)
        micro = sk.precision_recall_fscore_support(gold, halves, average="micro", zero_division=0)
        result |= {
            "hamming_loss": sk.hamming_loss(gold, predicted),
            "redv2_authors/hamming_loss": sk.hamming_loss(gold, halves),
            "redv2_authors/accuracy": sk.accuracy_score(gold, halves),
            "redv2_authors/micro_f1": micro[2],
            "redv2_authors/mse": sk.mean_squared_error(gold, logits),
        }
    if draws:
        result |= intervals(gold, predicted, draws)
    return {name: float(value) for name, value in result.items()}


def intervals(gold: np.ndarray, predicted: np.ndarray, draws: int) -> dict[str, float]:
    """Where accuracy and macro-F1 lie in 95 % of `draws` bootstrap samples of the rows, which are always the same."""
    rows, generator = len(gold), np.random.default_rng(0)
    right = (gold == predicted).all(1, keepdims=True)
    parts = [part.astype(np.float32) for part in (right, gold & predicted, predicted, gold)]
    drawn: dict[str, list[float]] = {"accuracy": [], "macro_f1": []}
    for _ in range(draws):
        counts = generator.multinomial(rows, np.full(rows, 1 / rows)).astype(np.float32)  # (N,)
        correct, both, said, true = (counts @ part for part in parts)  # (1,), then (C,) each
        drawn["accuracy"].append(correct[0] / rows)
        drawn["macro_f1"].append((2 * both / np.maximum(said + true, 1)).mean())
    ends = {name: np.percentile(values, [2.5, 97.5]) for name, values in drawn.items()}
    return {f"{name}/{end}": two[n] for name, two in ends.items() for n, end in enumerate(("low", "high"))}


def confusion(gold: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Counts (C, C) of rows by gold label (down) and predicted label (across), for kind "one"; both are (N, C) 0/1."""
    return sk.confusion_matrix(gold.argmax(1), predicted.argmax(1), labels=range(gold.shape[1]))


def dev_thresholds(gold: np.ndarray, logits: np.ndarray, kind: str) -> np.ndarray | None:
    """What decides on test: for kind "many" the thresholds (C,) that suit dev best, for kind "one" nothing."""
    return fit_thresholds(gold, probabilities(logits, kind)) if kind == "many" else None


def fit_thresholds(gold: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Thresholds (C,) that give each label its highest F1 on these rows: dev, never test.

    Every distinct probability is tried as the last one accepted; the threshold then lies half-way to the next lower
    one. Of cuts with equal F1 the highest is taken. A label without a positive row keeps 0.5.
    """
    columns = zip(gold.T, probabilities.T.astype(np.float64), strict=True)
    return np.array([_fit_threshold(*column) for column in columns])


def _fit_threshold(gold: np.ndarray, probabilities: np.ndarray) -> float:
    if not gold.any():
        return 0.5
    precision, recall, cuts = sk.precision_recall_curve(gold, probabilities)  # cuts: the distinct probabilities, rising
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = np.flatnonzero(f1[:-1] >= f1.max() - 1e-12)[-1]
    below = cuts[best - 1] if best else 0.0
    middle = (cuts[best] + below) / 2
    return float(middle if middle > below else cuts[best])  # neighbouring floats have no middle


def retrieval(queries: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    """How often the nearest of all answers (N, D) by cosine is the one in the query's row, and the other way round.

    `retrieval` is the mean of both directions. Among n answers that are all nearest, as copies are, the right one
    counts 1 / n.
    """
    one, two = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12) for v in (queries, answers))
    near = one @ two.T  # (N, N)
    found = []
    for cosines in (near, near.T):
        nearest = cosines >= cosines.max(1, keepdims=True) - 1e-6  # what rounding alone tells apart is alike
        found.append(float((nearest.diagonal() / nearest.sum(1)).mean()))
    return {"retrieval": sum(found) / 2, "retrieval/forth": found[0], "retrieval/back": found[1]}
