"""Whether two systems differ by more than chance on the same test texts: intervals, tests, and what could be shown.

N test texts, C labels, S pairs of runs (one a seed), K draws, M measures: accuracy (of whole rows) and macro-F1. Every
draw comes from a fixed seed, so the same predictions always give the same numbers.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.special import stdtrit

MEASURES = ("accuracy", "macro_f1")
DRAWS, BLOCK = 2000, 250  # draws in all, and at once: so large are the arrays over all texts


def compare(gold: np.ndarray, first: np.ndarray, second: np.ndarray, draws: int = DRAWS) -> dict[str, np.ndarray]:
    """First minus second, from gold (N, C) and predictions (S, N, C), all 0/1; the s-th runs are a pair.

    Each an array (M,): `difference` of the means over the pairs; of its `bootstrap` the ends `low` and `high` of the
    95 % interval and `p_bootstrap`; `p_randomised`; `p_mcnemar`, which is of accuracy, else nan; `smallest`.
    """
    one, two = parts(gold, first), parts(gold, second)
    once = np.ones((1, len(gold)), np.float32)
    each = (measured(gold, one, once) - measured(gold, two, once))[0]  # (S, M)
    texts = resampled(gold, one, two, draws)  # (K, S, M)
    drawn = bootstrap(each, texts)  # (K, M)
    low, high = np.percentile(drawn, [2.5, 97.5], 0)
    right = one[..., 0] - two[..., 0]  # (N, S) 1 where only the first is right, -1 where only the second is
    return {
        "difference": each.mean(0),
        "low": low,
        "high": high,
        "p_bootstrap": beyond(drawn),
        "p_randomised": randomised(gold, one, two, draws),
        "p_mcnemar": np.array([combined([mcnemar((s > 0).sum(), (s < 0).sum()) for s in right.T]), np.nan]),
        "smallest": smallest(len(first), *errors(each, texts)),
    }


def parts(gold: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """What sums to every measure, a text at a time: whether it is right, then its true positives, its predictions."""
    gold, predicted = gold.astype(bool), predicted.astype(bool)
    right = (gold == predicted).all(-1, keepdims=True)  # (S, N, 1)
    return np.concatenate([right, gold & predicted, predicted], -1).swapaxes(0, 1).astype(np.float32)  # (N, S, 1 + 2C)


def measured(gold: np.ndarray, part: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The measures (K, S, M) of runs where each text stands as often as counts (K, N) say."""
    sums = counts @ part.reshape(len(part), -1)  # (K, S * (1 + 2C))
    return rates(sums.reshape(len(counts), *part.shape[1:]), counts @ gold.astype(np.float32), len(gold))


def rates(sums: np.ndarray, true: np.ndarray, rows: int) -> np.ndarray:
    """The measures (K, S, M) from sums (K, S, 1 + 2C) of `parts` over `rows` texts with `true` (K, C) labels."""
    right, both, said = np.split(sums.astype(np.float64), [1, 1 + true.shape[1]], -1)
    f1 = 2 * both / np.maximum(said + true[:, None], 1)  # (K, S, C), as in rocl.metrics
    return np.stack([right[..., 0] / rows, f1.mean(-1)], -1)


def blocks(rows: int, draws: int, draw: Callable[[int], np.ndarray]) -> Iterator[np.ndarray]:
    """Arrays (at most BLOCK, N) of what `draw` says of N texts, `draws` rows in all."""
    for start in range(0, draws, BLOCK):
        yield np.stack([draw(rows) for _ in range(min(BLOCK, draws - start))]).astype(np.float32)


def resampled(gold: np.ndarray, one: np.ndarray, two: np.ndarray, draws: int) -> np.ndarray:
    """Differences (K, S, M) of every pair on bootstrap samples of the texts, the same for all pairs."""
    generator = np.random.default_rng(0)
    samples = blocks(len(gold), draws, lambda n: np.bincount(generator.integers(n, size=n), minlength=n))
    return np.concatenate([measured(gold, one, counts) - measured(gold, two, counts) for counts in samples])


def errors(each: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The squared error (M,) of the mean over the pairs: what the texts make of it, and what the seeds add; from the
    pairs' differences (S, M), and those on resampled texts (K, S, M).

    What a seed does to single texts is in the former; the spread of the pairs holds it too, and that of resampled pairs
    once more, by which it is known and taken out (components of variance; where nothing is left the seeds add 0).
    """
    pairs = len(each)
    if pairs == 1:
        return texts[:, 0].var(0, ddof=1), np.zeros(texts.shape[2])
    own = 2 * each.var(0, ddof=1) - texts.var(1, ddof=1).mean(0)
    return texts.mean(1).var(0, ddof=1), np.maximum(0, own) / pairs


def bootstrap(each: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Mean differences (K, M) on resampled texts and pairs, from the arguments of `errors`.

    Texts and pairs are resampled crosswise, as every pair judged the same texts (Multibootstrap: Sellam et al. 2022),
    with two corrections without which it is wrong for a handful of seeds. Plainly crossed, what a seed does to single
    texts counts three times (Owen 2007): here resampled pairs move the mean by what `errors` says that seeds add. And
    S numbers tell their own spread badly: S - 1 are drawn, which leaves it unbiased (Rao and Wu 1988), and moved by
    Student's t over the normal's quantile farther.
    """
    pairs, drawn = len(each), max(1, len(each) - 1)
    _, seeds = errors(each, texts)
    wide = stdtrit(drawn, 0.975) / stdtrit(np.inf, 0.975)
    share = wide * np.sqrt(pairs * seeds / np.maximum(each.var(0, ddof=min(1, pairs - 1)), 1e-12))  # (M,)
    taken = np.random.default_rng(1).multinomial(drawn, np.full(pairs, 1 / pairs), len(texts)) / drawn  # (K, S)
    return texts.mean(1) + share * (taken @ (each - each.mean(0)))


def beyond(drawn: np.ndarray) -> np.ndarray:
    """A two-sided p (M,): twice the smaller share of the draws (K, M) on either side of 0."""
    fewer = np.minimum((drawn <= 1e-12).sum(0), (drawn >= -1e-12).sum(0))
    return np.minimum(1, 2 * (1 + fewer) / (1 + len(drawn)))


def randomised(gold: np.ndarray, one: np.ndarray, two: np.ndarray, draws: int) -> np.ndarray:
    """p (M,) of approximate randomisation (Noreen 1989): how often two runs are as far apart, either way, as these
    when each text's predictions change sides with probability 1/2, those of all pairs at once.

    It speaks of these very runs: other seeds are not drawn.
    """
    rows, generator = len(gold), np.random.default_rng(2)
    true, ours, theirs = gold.sum(0, dtype=np.float32)[None], one.sum(0), two.sum(0)
    apart = np.abs(np.mean(rates(ours[None], true, rows) - rates(theirs[None], true, rows), 1))  # (1, M)
    change, farther = (two - one).reshape(rows, -1), 0
    for swapped in blocks(rows, draws, lambda n: generator.integers(2, size=n)):
        moved = (swapped @ change).reshape(len(swapped), *ours.shape)  # (k, S, 1 + 2C)
        drawn = rates(ours + moved, true, rows) - rates(theirs - moved, true, rows)
        farther += (np.abs(drawn.mean(1)) >= apart - 1e-9).sum(0)
    return (1 + farther) / (1 + draws)


def mcnemar(first: int, second: int) -> float:
    """The exact two-sided p of as many texts on which only the first, or only the second, of two runs is right."""
    texts, fewer = int(first + second), int(min(first, second))
    k = np.arange(1, fewer + 1)
    ways = np.concatenate([[0.0], np.cumsum(np.log((texts - k + 1) / k))])  # logarithms of "texts over k"
    return min(1.0, 2 * float(np.exp(ways - texts * np.log(2)).sum()))


def combined(p: Sequence[float]) -> float:
    """One p from several tests of one hypothesis, however they depend on each other (Rüger 1978): the k-th smallest
    of S times S / k, with k in the middle."""
    middle = (len(p) + 1) // 2
    return min(1.0, sorted(p)[middle - 1] * len(p) / middle)


def holm(p: Sequence[float]) -> np.ndarray:
    """p values made larger for being several (Holm 1979): below 0.05 all of them together err in 5 % of cases."""
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.asarray(p)[order] * np.arange(len(p), 0, -1)))
    return adjusted


def smallest(pairs: int, texts: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The true difference (M,) that a two-sided 5 % test finds in 80 % of cases, from the two parts of `errors`.

    (t.975 + t.80) * sqrt(texts + seeds): Bloom 1995, "Minimum detectable effects", with the degrees of freedom of a sum
    of which only the seeds' part is uncertain (Satterthwaite 1946), so that few seeds that disagree can show little.
    One pair, or seeds that add nothing: 2.8 errors.
    """
    freedom = np.full(len(texts), np.inf)
    np.divide(texts + seeds, seeds, out=freedom, where=seeds > 0)
    freedom = max(1, pairs - 1) * freedom**2
    return (stdtrit(freedom, 0.975) + stdtrit(freedom, 0.8)) * np.sqrt(texts + seeds)
