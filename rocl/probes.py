"""What vectors and probabilities tell of a model: how far apart languages and classes lie, and calibration. All numpy.

Letters: N rows, L layers with the embeddings, D width, C labels, K decisions.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product

import numpy as np
from scipy.stats import binomtest
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from rocl.metrics import retrieval

BINS = 15  # of confidence, as in Guo et al. 2017
GROUPS = 5  # of lengths
POOLS = ("mean", "first token")  # what stands for a text
LEAST = 1e-6  # probability in a likelihood: predictions are written with six decimals

Sides = Sequence[np.ndarray]  # the vectors of one language and those of another, (N, D) each


def spaced(size: int, most: int) -> np.ndarray:
    """At most so many of the places 0 to size - 1, evenly spaced, as corpora may be sorted."""
    return np.linspace(0, size - 1, min(size, most)).astype(int)


def language_probe(fit: Sides, held: Sides) -> float:
    """Share of the held-out vectors whose language a logistic regression tells that has learned from others.

    Vectors are standardised. Of the larger side as many are taken as the smaller has, so guessing gives 0.5.
    """
    return _accuracy(LogisticRegression(max_iter=2000), fit, held)


def a_distance(fit: Sides, held: Sides) -> float:
    """The proxy A-distance 2 (1 - 2 error) of two languages (Ben-David et al. 2007): 0 where they cannot be told apart,
    2 where they always can, below 0 where chance will have it.

    The error is that of a linear SVM on held-out vectors, as in Ganin et al. 2016, section 5.1.5; but they take the
    lowest of many values of C, chosen on the vectors it is measured on, and here C is 0.01 on standardised vectors.
    """
    return 2 * (1 - 2 * (1 - _accuracy(LinearSVC(C=0.01, dual=False), fit, held)))


def _accuracy(classifier: ClassifierMixin, fit: Sides, held: Sides) -> float:
    return float(make_pipeline(StandardScaler(), classifier).fit(*_even(fit)).score(*_even(held)))


def _even(sides: Sides) -> tuple[np.ndarray, np.ndarray]:
    size = min(map(len, sides))
    return np.concatenate([side[spaced(len(side), size)] for side in sides]), np.repeat([0, 1], size)


def by_layer(
    fit: Mapping[str, np.ndarray], held: Mapping[str, np.ndarray], pairs: Mapping[str, Sides]
) -> list[dict[str, object]]:
    """What `language_probe`, `a_distance` and retrieval say of every layer, a row a layer and kind of vector.

    `fit` and `held` hold vectors (N, L, 2, D) by language: each layer's mean token and first token; `pairs` those of
    translations, row by row, of which the first half teaches a probe that is asked about the second.
    """
    rows, every = [], [*fit.values(), *(one for one, _ in pairs.values())]
    for (place, pool), layer in product(enumerate(POOLS), range(every[0].shape[1] if every else 0)):
        row: dict[str, object] = {"vectors": pool, "layer": str(layer or "embeddings"), "guessing": 0.5}
        for one, two in combinations(fit, 2):
            sides = [[side[language][:, layer, place] for language in (one, two)] for side in (fit, held)]
            row |= {f"{one}-{two} probe": language_probe(*sides), f"{one}-{two} A-distance": a_distance(*sides)}
        for name, both in pairs.items():
            sides = [side[:, layer, place] for side in both]
            found, half = retrieval(*sides), len(sides[0]) // 2
            row |= {f"{name} {way}": found[f"retrieval/{way}"] for way in ("forth", "back")}
            if half:  # a pair to learn from, a pair to be asked about
                row[f"{name} told apart"] = language_probe([s[:half] for s in sides], [s[half:] for s in sides])
        rows.append(row)
    return rows


def centroids(vectors: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """The mean vector of each label's rows (C, D), from vectors (N, D) and gold 0/1 (N, C); without rows not a number.
    A row of many labels counts for each."""
    with np.errstate(invalid="ignore"):
        return gold.T.astype(float) @ vectors / gold.sum(0)[:, None]


def cosine_distances(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """1 - cosine of every row of the one and every row of the other."""
    units = [v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12) for v in (one, two)]
    return 1 - units[0] @ units[1].T


def class_distances(vectors: Sides, gold: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Cosine distances (C,) by label, of two languages with vectors (N, D) and gold (N, C), the same labels in each.

    across: from the label's centroid in one language to that in the other; across, others: to the other labels'
    centroids there; within: from a row to the centroid of its label and language; between: from the label's centroid to
    the others of its language. All but the first are means of both languages. What has no rows is not a number.
    """
    one, two = (centroids(*side) for side in zip(vectors, gold, strict=True))  # (C, D)
    other = ~np.eye(len(one), dtype=bool)
    apart = cosine_distances(one, two)  # (C, C)
    near = [cosine_distances(v, c) for v, c in zip(vectors, (one, two), strict=True)]  # (N, C)
    within = [np.where(g, d, 0).sum(0) / np.maximum(g.sum(0), 1) for g, d in zip(gold, near, strict=True)]  # (C,)
    return {
        "across": apart.diagonal(),
        "across, others": _mean([apart, apart.T], other),
        "within": np.where(np.isnan(apart.diagonal()), np.nan, np.mean(within, 0)),
        "between": _mean([cosine_distances(one, one), cosine_distances(two, two)], other),
    }


def _mean(matrices: Sequence[np.ndarray], where: np.ndarray) -> np.ndarray:
    """The mean of each row (C,) over these places, over the matrices (C, C) and what is a number in them."""
    values, count = np.stack(matrices), where & ~np.isnan(matrices)  # (2, C, C)
    with np.errstate(invalid="ignore"):
        return np.where(count, values, 0).sum((0, 2)) / count.sum((0, 2))


def by_length(lengths: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """("tokens", from where to where, which rows) of five groups of about equal size; less where many are as long."""
    number = np.digitize(lengths, np.unique(np.quantile(lengths, np.linspace(0, 1, GROUPS + 1)[1:-1])), right=True)
    for which in (number == each for each in np.unique(number)):
        ends = sorted({int(lengths[which].min()), int(lengths[which].max())})
        yield "tokens", " to ".join(map(str, ends)), which


def rates(gold: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Accuracy of whole rows with its 95 % interval, and macro-F1 over the labels that have rows; from (N, C) 0/1."""
    occur = gold.any(0)
    f1 = f1_score(gold[:, occur], predicted[:, occur], average="macro", zero_division=0)
    accuracy = proportion((gold == predicted).all(1))
    return dict(zip(("accuracy", "low", "high"), accuracy, strict=True)) | {"macro-F1": float(f1)}


def decisions(probable: np.ndarray, gold: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Confidence (K,) and whether it was right (K,), from probabilities (N, C) and gold (N, C).

    Of kind "one" a row is a decision: the most probable label's probability, and whether it is the gold one. Of kind
    "many" each label of each row is: its probability, and whether the label holds; no threshold enters.
    """
    if kind == "many":
        return probable.ravel(), gold.ravel().astype(bool)
    return probable.max(1), gold[np.arange(len(gold)), probable.argmax(1)].astype(bool)


def equal_width(confidence: np.ndarray) -> list[np.ndarray]:
    """The decisions in each of 15 intervals ((m - 1) / 15, m / 15], those that hold any."""
    number = np.digitize(confidence, np.linspace(0, 1, BINS + 1)[1:-1], right=True)
    return [np.flatnonzero(number == each) for each in np.unique(number)]


def equal_mass(confidence: np.ndarray) -> list[np.ndarray]:
    """The decisions in 15 parts of equal size (at most one apart), from the least confident to the most."""
    return [part for part in np.array_split(np.argsort(confidence, kind="stable"), BINS) if len(part)]


def calibration_error(confidence: np.ndarray, right: np.ndarray, parts: Sequence[np.ndarray]) -> float:
    """Expected calibration error: |share right - mean confidence| of each part, by its share of all decisions (Guo et
    al. 2017, equation 3, over `equal_width`; over `equal_mass` the adaptive one of Mukhoti et al. 2020)."""
    gaps = [len(part) * abs(right[part].mean() - confidence[part].mean()) for part in parts]
    return float(sum(gaps) / len(confidence))


def brier(probable: np.ndarray, gold: np.ndarray, kind: str) -> float:
    """Squared error of the probabilities: of kind "one" summed over labels (Brier 1950; 0 to 2), of kind "many" their
    mean (0 to 1)."""
    squares = (probable - gold) ** 2
    return float(squares.mean() if kind == "many" else squares.sum(1).mean())


def nll(probable: np.ndarray, gold: np.ndarray, kind: str) -> float:
    """Negative log-likelihood, nats: of kind "one" of the gold label, a row; of kind "many" of whether a label holds, a
    decision. No probability counts as less than 1e-6."""
    true = np.where(gold, probable, 1 - probable) if kind == "many" else probable[gold.astype(bool)]
    return float(-np.log(np.maximum(true, LEAST)).mean())


def calibration(probable: np.ndarray, gold: np.ndarray, kind: str) -> tuple[dict[str, float], np.ndarray]:
    """The four figures by name, and of each bin of equal width mean confidence, share right and the ends of its 95 %
    interval, (bins, 4)."""
    confidence, right = decisions(probable, gold, kind)
    wide = equal_width(confidence)
    found = {
        "ECE": calibration_error(confidence, right, wide),
        "adaptive ECE": calibration_error(confidence, right, equal_mass(confidence)),
        "Brier": brier(probable, gold, kind),
        "NLL": nll(probable, gold, kind),
    }
    return found, np.array([[confidence[part].mean(), *proportion(right[part])] for part in wide])


def proportion(right: np.ndarray) -> tuple[float, float, float]:
    """The share that is right, and the ends of its 95 % interval (Wilson 1927)."""
    found = binomtest(int(right.sum()), len(right))
    interval = found.proportion_ci(method="wilson")
    return float(found.statistic), float(interval.low), float(interval.high)
