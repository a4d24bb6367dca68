"""Proves that intervals and p values are those of scipy or of a loop over texts, and what can be shown is."""

from math import sqrt

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from rocl import metrics, significance
from rocl.significance import (
    beyond,
    blocks,
    bootstrap,
    combined,
    compare,
    errors,
    holm,
    mcnemar,
    parts,
    randomised,
    resampled,
    smallest,
)


def answers(texts: int, pairs: int, seed: int, labels: int = 3, many: bool = False):
    """Gold (N, C), and predictions (S, N, C) of two systems, the first right more often."""
    draw = np.random.default_rng(seed)
    gold = np.eye(labels, dtype=np.uint8)[draw.integers(labels, size=texts)]
    if many:
        gold |= draw.random(gold.shape) < 0.2
    sides = []
    for share in (0.3, 0.45):
        other = np.eye(labels, dtype=np.uint8)[draw.integers(labels, size=(pairs, texts))]
        sides.append(np.where(draw.random((pairs, texts, 1)) < share, other, gold))
    return gold, *sides


def macro_f1(gold, predicted) -> float:
    return f1_score(gold, predicted, average="macro", zero_division=0)


def apart(gold, first, second) -> list[float]:
    """Mean differences in accuracy and macro-F1 over pairs, a run at a time."""
    rows = [[(gold == p).all(1).mean() for p in side] for side in (first, second)]
    f1 = [[macro_f1(gold, p) for p in side] for side in (first, second)]
    return [np.mean(rows[0]) - np.mean(rows[1]), np.mean(f1[0]) - np.mean(f1[1])]


@pytest.mark.parametrize("many", [False, True])
def test_the_measures_are_those_of_the_scores(many):
    gold, first, second = answers(40, 2, 0, labels=4, many=many)
    found = compare(gold, first, second, 10)["difference"]
    names = [f"l{number}" for number in range(4)]
    kind = "many" if many else "one"
    scores = [[metrics.scores(gold, 20.0 * p - 10, names, kind) for p in side] for side in (first, second)]
    for place, metric in enumerate(significance.MEASURES):
        one, two = (np.mean([each[metric] for each in side]) for side in scores)
        assert found[place] == pytest.approx(one - two, abs=1e-12)


@pytest.mark.parametrize("many", [False, True])
def test_a_resampled_difference_is_that_of_the_texts_that_were_drawn(many):
    gold, first, second = answers(30, 2, 1, many=many)
    found = resampled(gold, parts(gold, first), parts(gold, second), 40)  # (K, S, M)
    draw = np.random.default_rng(0)
    for k in range(40):
        rows = draw.integers(30, size=30)
        for s in range(2):
            slow = apart(gold[rows], first[s : s + 1, rows], second[s : s + 1, rows])
            np.testing.assert_allclose(found[k, s], slow, atol=1e-12)


@pytest.mark.parametrize("seed", [0.0, 0.3])
def test_what_texts_and_seeds_add_to_the_error_is_told_apart(seed):
    """Against what made the numbers: a seed's own part, a text's own, and what a seed does to single texts."""
    draw, rows, pairs, text, both, found = np.random.default_rng(2), 60, 4, 0.5, 1.0, []
    for _ in range(300):
        own = seed * draw.normal(size=(pairs, 1)) + text * draw.normal(size=rows)
        made = own + both * draw.normal(size=(pairs, rows))  # (S, N)
        counts = draw.multinomial(rows, np.full(rows, 1 / rows), 100) / rows  # (K, N)
        found.append(errors(made.mean(1)[:, None], (counts @ made.T)[..., None]))
    texts, seeds = np.mean(found, 0)[:, 0]
    assert texts == pytest.approx((text**2 + both**2 / pairs) / rows, rel=0.05)
    if seed:
        assert seeds == pytest.approx(seed**2 / pairs, rel=0.1)
    else:
        assert seeds < 0.5 * both**2 / rows / pairs  # the spread of the pairs, all of it by chance, would say 1


def test_a_bootstrap_of_pairs_and_texts_has_the_error_of_both():
    draw, wide = np.random.default_rng(3), stats.t(3).ppf(0.975) / stats.norm.ppf(0.975)
    each = draw.normal(size=(4, 2))
    still = bootstrap(each, np.broadcast_to(each, (20_000, 4, 2)))  # whatever texts are drawn
    np.testing.assert_allclose(still.var(0), wide**2 * each.var(0, ddof=1) / 4, rtol=0.03)
    np.testing.assert_allclose(still.mean(0), each.mean(0), atol=0.05)
    texts = each + 0.5 * draw.normal(size=(20_000, 4, 2))
    by_texts, by_seeds = errors(each, texts)
    np.testing.assert_allclose(bootstrap(each, texts).var(0), by_texts + wide**2 * by_seeds, rtol=0.03)
    noise = each[:1] + draw.normal(size=(50, 1, 2))
    np.testing.assert_array_equal(bootstrap(each[:1], noise), noise[:, 0])  # one pair


def test_the_interval_of_one_pair_is_that_of_scipy():
    gold, first, second = answers(150, 1, 4)
    found = compare(gold, first, second, 4000)
    sides = [(gold == side[0]).all(1) for side in (first, second)]

    def accuracy(one, two, axis=-1):
        return one.mean(axis) - two.mean(axis)

    def f1(rows):
        rows = rows.astype(int)
        true, scores = gold[rows].sum(0), []
        for side in (first, second):
            said, both = side[0][rows].sum(0), (gold[rows] & side[0][rows]).sum(0)
            scores.append((2 * both / np.maximum(said + true, 1)).mean())
        return scores[0] - scores[1]

    options = dict(method="percentile", n_resamples=4000, rng=np.random.default_rng(5))
    ours = stats.bootstrap(sides, accuracy, paired=True, vectorized=True, **options).confidence_interval
    theirs = stats.bootstrap((np.arange(150),), f1, vectorized=False, **options).confidence_interval
    assert (found["low"][0], found["high"][0]) == pytest.approx(tuple(ours), abs=0.008)
    assert (found["low"][1], found["high"][1]) == pytest.approx(tuple(theirs), abs=0.008)


def test_p_of_the_bootstrap_is_twice_the_share_beyond_zero_by_hand():
    assert beyond(np.array([[-1.0]] * 3 + [[0.0]] + [[2.0]] * 95)) == pytest.approx(2 * (1 + 4) / 100)
    assert beyond(np.zeros((50, 2))).tolist() == [1, 1] and beyond(-np.ones((99, 1))) == pytest.approx(2 / 100)


@pytest.mark.parametrize("pairs", [1, 2])
def test_approximate_randomisation_comes_near_all_permutations_of_scipy(pairs):
    gold, first, second = answers(8, pairs, 30)
    both = np.concatenate([first, second], 1)  # (S, 2N, C)

    def statistic(place):
        def far(one, two, axis=-1):
            return abs(apart(gold, both[:, one.astype(int)], both[:, two.astype(int)])[place])

        return far

    found = randomised(gold, parts(gold, first), parts(gold, second), 10_000)
    for place in range(2):
        exact = stats.permutation_test(
            (np.arange(8), np.arange(8, 16)),
            statistic(place),
            permutation_type="samples",
            alternative="greater",
            vectorized=False,
            n_resamples=np.inf,
        )
        assert exact.pvalue < 0.3 and found[place] == pytest.approx(exact.pvalue, abs=0.015)


@pytest.mark.parametrize(
    ("first", "second"), [(0, 0), (1, 0), (5, 15), (15, 5), (14, 6), (9, 9), (300, 401), (2000, 0)]
)
def test_mcnemar_is_the_binomial_test_of_scipy(first, second):
    exact = stats.binomtest(first, first + second).pvalue if first + second else 1
    assert mcnemar(first, second) == pytest.approx(exact, rel=1e-9, abs=1e-300)


def test_mcnemar_of_a_comparison_counts_the_texts_on_which_just_one_is_right():
    gold, first, second = answers(80, 3, 7)
    p = []
    for one, two in zip((gold == first).all(2), (gold == second).all(2), strict=True):
        p.append(stats.binomtest(int((one & ~two).sum()), int((one != two).sum())).pvalue)
    found = compare(gold, first, second, 10)["p_mcnemar"]
    assert found[0] == pytest.approx(min(1, 1.5 * sorted(p)[1])) and np.isnan(found[1])


def test_tests_are_combined_by_their_middle_p():
    assert combined([0.04]) == 0.04
    assert combined([0.2, 0.01, 0.02]) == pytest.approx(0.03)
    assert combined([0.9, 0.01]) == pytest.approx(0.02)  # the first of two: Bonferroni
    assert combined([0.9, 0.8, 0.9]) == 1
    draw = np.random.default_rng(8)
    for bound in (0.0, 0.7, 1.0):  # whether they depend or not, a true hypothesis is refused in at most 5 %
        z = sqrt(bound) * draw.normal(size=(4000, 1)) + sqrt(1 - bound) * draw.normal(size=(4000, 3))
        assert np.mean([combined(p) < 0.05 for p in 2 * stats.norm.sf(abs(z))]) < 0.06


def test_holm_refuses_what_its_steps_refuse():
    def refused(p, level):  # Holm 1979: from the smallest on, until one is not below level / those left
        kept = set(range(len(p)))
        for left, place in zip(range(len(p), 0, -1), np.argsort(p), strict=True):
            if p[place] > level / left:
                break
            kept.discard(int(place))
        return [place not in kept for place in range(len(p))]

    draw = np.random.default_rng(9)
    for _ in range(20):
        p = draw.random(6) ** 3
        adjusted = holm(p)
        for level in (0.01, 0.05, 0.2, 0.7):
            assert (adjusted <= level).tolist() == refused(p, level)
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([]).size == 0


def test_of_one_pair_the_smallest_difference_is_connors():
    gold, first, second = answers(2000, 1, 10)
    second = np.where(np.arange(2000)[None, :, None] % 10 < 9, first, second)  # they differ on few texts
    texts = ((gold == first).all(2) != (gold == second).all(2)).sum()
    found = compare(gold, first, second)["smallest"][0]
    assert found == pytest.approx((1.96 + 0.84) * sqrt(texts) / 2000, rel=0.05)


def test_few_pairs_that_disagree_can_show_little():
    texts, seeds = np.array([1e-4, 1e-4]), np.array([3e-4, 0])
    t = stats.t(2 * (4 / 3) ** 2)  # Satterthwaite, the degrees of the texts without bound
    found = smallest(3, texts, seeds)
    assert found[0] == pytest.approx((t.ppf(0.975) + t.ppf(0.8)) * sqrt(4e-4)) and found[0] > 3.5 * sqrt(4e-4)
    assert found[1] == pytest.approx((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * sqrt(1e-4))


def rights(draw, pairs: int, texts: int, difference: float, share: float = 0.2) -> list[np.ndarray]:
    """Two systems' predictions (S, N, 2) of label 1: on a share of the texts just one of them is right."""
    chances = [1 - share, (share + difference) / 2, (share - difference) / 2]
    only = draw.choice(3, size=(pairs, texts), p=chances)
    both = draw.random((pairs, texts)) < 0.7
    return [np.eye(2, dtype=np.uint8)[np.where(only, only == side, both).astype(int)] for side in (1, 2)]


@pytest.mark.parametrize(
    ("pairs", "times", "test", "least", "most"),
    [
        (1, 0, "p_bootstrap", 0, 0.08),
        (1, 1, "p_bootstrap", 0.74, 0.86),
        (3, 0, "p_bootstrap", 0, 0.08),
        (3, 1, "p_bootstrap", 0.5, 0.86),  # it cannot know from three seeds that seeds add nothing here
        (3, 1, "p_randomised", 0.7, 0.86),
    ],
)
def test_the_smallest_difference_is_found_in_four_cases_of_five(pairs, times, test, least, most):
    gold, draw = np.tile(np.array([0, 1], np.uint8), (300, 1)), np.random.default_rng(11)
    difference = float(smallest(pairs, np.array([0.2 / 300 / pairs]), np.zeros(1))[0])
    assert difference == pytest.approx(2.8 * sqrt(0.2 / 300 / pairs), rel=1e-3)
    found = [compare(gold, *rights(draw, pairs, 300, times * difference), 200)[test][0] for _ in range(300)]
    assert least <= np.mean(np.array(found) < 0.05) <= most


def test_seeds_that_vary_more_than_texts_are_not_taken_for_a_difference():
    """Two systems that differ by their three seeds alone. A plain bootstrap finds a difference too often."""
    gold, draw, found, plain = np.tile(np.array([0, 1], np.uint8), (200, 1)), np.random.default_rng(12), [], []
    for _ in range(200):
        texts, sides = draw.normal(size=200), []
        for _ in range(2):
            right = texts + 0.4 * draw.normal(size=(3, 1)) + 0.5 * draw.normal(size=(3, 200)) > 0
            sides.append(np.eye(2, dtype=np.uint8)[right.astype(int)])
        found.append({name: values[0] for name, values in compare(gold, *sides, 200).items()})
        apart_ = (sides[0][..., 1].astype(int) - sides[1][..., 1]).mean(1)[draw.integers(3, size=(200, 3))].mean(1)
        plain.append(2 * min((apart_ <= 0).mean(), (apart_ >= 0).mean()) < 0.05)
    small = [each["p_bootstrap"] < 0.05 for each in found]
    shown = [each["p_bootstrap"] < 0.05 and abs(each["difference"]) >= each["smallest"] for each in found]
    assert np.mean(shown) <= np.mean(small) < 0.12 and np.mean(shown) < 0.1 and np.mean(plain) > 0.2


def test_the_same_predictions_give_the_same_numbers_and_sides_can_change():
    gold, first, second = answers(60, 3, 13, many=True)
    one, again, other = (compare(gold, *s, 400) for s in ((first, second), (first, second), (second, first)))
    for name, values in one.items():
        np.testing.assert_array_equal(values, again[name])
        sign = -1 if name in ("difference", "low", "high") else 1
        swapped = {"low": "high", "high": "low"}.get(name, name)
        np.testing.assert_allclose(sign * other[swapped], values, atol=1e-12)
    same = compare(gold, first, first, 100)
    assert same["p_bootstrap"].tolist() == same["p_randomised"].tolist() == [1, 1] and same["p_mcnemar"][0] == 1
    assert same["difference"].tolist() == same["smallest"].tolist() == [0, 0]


@pytest.mark.parametrize("draws", [1, significance.BLOCK, significance.BLOCK + 3])
def test_so_many_draws_are_made(draws):
    made = list(blocks(7, draws, lambda n: np.ones(n)))
    assert sum(map(len, made)) == draws and {block.shape[1] for block in made} == {7}
