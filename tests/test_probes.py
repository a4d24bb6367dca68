"""Proves that each measure of vectors and probabilities is what its definition says: by hand numbers and slow loops."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import cosine
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, log_loss

from rocl import probes

DRAW = np.random.default_rng(0)


def blobs(distance: float, *sizes: int, width: int = 5) -> list[np.ndarray]:
    """Two clouds whose middles lie this far apart, of so many points each."""
    return [DRAW.normal(size=(size, width)) + distance * number for number, size in enumerate(sizes)]


def test_spaced_places_are_even_and_reach_both_ends():
    assert probes.spaced(10, 4).tolist() == [0, 3, 6, 9]
    assert probes.spaced(3, 4).tolist() == [0, 1, 2]
    assert probes.spaced(0, 4).tolist() == []


def test_clouds_far_apart_are_always_told_and_copies_never():
    fit, held = blobs(20, 60, 40), blobs(20, 30, 50)
    assert probes.language_probe(fit, held) == 1 and probes.a_distance(fit, held) == 2
    same = [fit[0], fit[0].copy()]
    assert probes.language_probe(same, [held[0], held[0]]) == 0.5
    assert probes.a_distance(same, [held[0], held[0]]) == pytest.approx(0)


def test_sides_that_say_the_opposite_of_what_was_learned_have_a_negative_distance():
    one, two = blobs(20, 40, 40)
    assert probes.a_distance((one, two), (two, one)) == -2


@pytest.mark.parametrize("distance", [0.3, 1.0])
def test_accuracy_is_over_as_many_of_either_side(distance):
    """Half of what both sides have after the larger is thinned: not what a constant answer gets."""
    fit, held = blobs(distance, 200, 500, width=2), blobs(distance, 100, 900, width=2)
    middle = np.concatenate([fit[0], fit[1][probes.spaced(500, 200)]]).mean(0).sum()
    expected = ((held[0].sum(1) < middle).mean() + (held[1][probes.spaced(900, 100)].sum(1) > middle).mean()) / 2
    assert probes.language_probe(fit, held) == pytest.approx(expected, abs=0.06)
    assert probes.a_distance(fit, held) == pytest.approx(4 * expected - 2, abs=0.24)


def test_by_layer_measures_each_layer_by_itself():
    """Layer 1 gives the language away in the mean alone; translations are each other's copies in layer 0 alone."""
    noise = {name: DRAW.normal(size=(80, 2, 2, 4)) for name in ("aa", "bb")}
    noise["bb"][:, 1, 0] += 20
    pair = [DRAW.normal(size=(30, 2, 2, 4)) for _ in range(2)]
    pair[1][:, 0] = 3 * pair[0][:, 0]
    rows = probes.by_layer({n: v[:50] for n, v in noise.items()}, {n: v[50:] for n, v in noise.items()}, {"p": pair})
    assert [(row["vectors"], row["layer"]) for row in rows] == [
        ("mean", "embeddings"),
        ("mean", "1"),
        ("first token", "embeddings"),
        ("first token", "1"),
    ]
    assert [row["aa-bb probe"] == 1 for row in rows] == [False, True, False, False]
    assert [row["aa-bb A-distance"] == 2 for row in rows] == [False, True, False, False]
    assert [row["p forth"] == row["p back"] == 1 for row in rows] == [True, False, True, False]
    halves = [[side[:15, 1, 0] for side in pair], [side[15:, 1, 0] for side in pair]]
    assert rows[1]["p told apart"] == probes.language_probe(*halves)
    (one, *_) = probes.by_layer({}, {}, {"p": [side[:1] for side in pair]})
    assert one["p forth"] == 1 and "p told apart" not in one, "a probe needs a pair to learn from and one to be asked"
    assert probes.by_layer({}, {}, {}) == []


def test_class_distances_are_those_of_a_loop():
    vectors = [DRAW.normal(size=(size, 6)) for size in (40, 25)]
    gold = [DRAW.random((len(side), 3)) < 0.4 for side in vectors]
    middles = [[v[g[:, c]].mean(0) for c in range(3)] for v, g in zip(vectors, gold, strict=True)]
    found = probes.class_distances(vectors, gold)
    for c in range(3):
        others = [other for other in range(3) if other != c]
        across = [cosine(middles[0][c], middles[1][o]) for o in others]
        across += [cosine(middles[1][c], middles[0][o]) for o in others]
        within = [
            np.mean([cosine(v, m[c]) for v in s[g[:, c]]]) for s, g, m in zip(vectors, gold, middles, strict=True)
        ]
        between = [cosine(m[c], m[o]) for m in middles for o in others]
        expected = [cosine(middles[0][c], middles[1][c]), np.mean(across), np.mean(within), np.mean(between)]
        assert [found[name][c] for name in found] == pytest.approx(expected)
    assert list(found) == ["across", "across, others", "within", "between"]


def test_a_label_without_rows_in_one_language_has_no_distance_and_spoils_no_other():
    vectors, gold = (
        [DRAW.normal(size=(9, 4)) for _ in range(2)],
        [np.eye(3, dtype=bool)[[0, 1, 2] * 3] for _ in range(2)],
    )
    gold[1][:, 2] = False
    found = probes.class_distances(vectors, gold)
    assert np.isnan(found["across"][2]) and np.isnan(found["within"][2])
    assert all(np.isfinite(values[:2]).all() for values in found.values())
    alone = probes.class_distances(vectors, [side[:, :1] for side in gold])
    assert np.isfinite(alone["across"][0]) and np.isnan(alone["between"][0])


def test_calibration_error_of_a_case_worked_out_by_hand():
    """Bins of 1/15: (0.6, 0.6667] holds two, (0.8667, 0.9333] three, the last one."""
    confidence = np.array([0.62, 0.66, 0.9, 0.91, 0.92, 1.0])
    right = np.array([0, 1, 1, 1, 0, 1])
    gaps = 2 * abs(0.5 - 0.64) + 3 * abs(2 / 3 - 0.91) + 1 * abs(1 - 1)
    parts = probes.equal_width(confidence)
    assert [part.tolist() for part in parts] == [[0, 1], [2, 3, 4], [5]]
    assert probes.calibration_error(confidence, right, parts) == pytest.approx(gaps / 6)
    alone = probes.equal_mass(confidence)  # fewer decisions than bins: each by itself
    assert probes.calibration_error(confidence, right, alone) == pytest.approx(np.abs(right - confidence).mean())


def test_bins_are_open_below_and_closed_above_and_equal_masses_are_equal():
    confidence = DRAW.random(1000)
    for part in probes.equal_width(confidence):
        assert len({math.ceil(value * 15) for value in confidence[part]}) == 1
    edges = probes.equal_width(np.array([0.0, 1 / 15, 1 / 15 + 1e-9, 1.0]))
    assert [part.tolist() for part in edges] == [[0, 1], [2], [3]]
    masses = probes.equal_mass(confidence)
    assert sorted(map(len, masses)) == [66] * 5 + [67] * 10
    ends = [(confidence[part].min(), confidence[part].max()) for part in masses]
    assert all(one[1] <= two[0] for one, two in zip(ends, ends[1:], strict=False))


def test_calibration_of_one_label_agrees_with_scikit_learn_and_a_loop():
    probable, gold = DRAW.dirichlet(np.ones(4), 300), np.eye(4)[DRAW.integers(0, 4, 300)]
    found, curve = probes.calibration(probable, gold, "one")
    assert found["NLL"] == pytest.approx(log_loss(gold, probable))
    assert found["Brier"] == pytest.approx(
        brier_score_loss(gold.argmax(1), probable, labels=range(4), scale_by_half=False)
    )
    error = 0.0
    for low in range(15):
        inside = [n for n in range(300) if low / 15 < probable[n].max() <= (low + 1) / 15]
        if inside:
            share = sum(gold[n].argmax() == probable[n].argmax() for n in inside) / len(inside)
            error += len(inside) / 300 * abs(share - sum(probable[n].max() for n in inside) / len(inside))
    assert found["ECE"] == pytest.approx(error)
    assert (curve[:, 2] <= curve[:, 1]).all() and (curve[:, 1] <= curve[:, 3]).all()


def test_calibration_of_many_labels_pools_every_label_of_every_row():
    probable, gold = DRAW.random((200, 3)), DRAW.random((200, 3)) < 0.5
    found, _ = probes.calibration(probable, gold, "many")
    assert found["Brier"] == pytest.approx(((probable - gold) ** 2).mean())
    assert found["NLL"] == pytest.approx(np.mean([log_loss(gold[:, c], probable[:, c]) for c in range(3)]))
    wide = probes.equal_width(probable.ravel())
    assert sum(map(len, wide)) == 600
    gaps = [abs(gold.ravel()[part].sum() - probable.ravel()[part].sum()) for part in wide]
    assert found["ECE"] == pytest.approx(sum(gaps) / 600)


def test_perfect_probabilities_have_no_error_and_none_is_infinite():
    gold = np.eye(2)[[0, 1, 1]]
    assert list(probes.calibration(gold, gold, "one")[0].values()) == pytest.approx([0, 0, 0, 0])
    assert probes.nll(1 - gold, gold, "one") == pytest.approx(-math.log(1e-6))


def test_groups_of_length_hold_every_row_once():
    lengths = np.array([3] * 50 + list(range(4, 54)))
    groups = [which for _, _, which in probes.by_length(lengths)]
    assert (np.sum(groups, 0) == 1).all() and len(groups) == 4  # half are as long as the shortest
    (name, value, which), *_ = probes.by_length(lengths)
    assert (name, value) == ("tokens", "3") and which.sum() == 50
    assert len(list(probes.by_length(np.full(7, 4)))) == 1


def test_rates_are_those_of_scikit_learn_over_the_labels_that_occur():
    gold, predicted = DRAW.random((60, 4)) < 0.4, DRAW.random((60, 4)) < 0.4
    gold[:, 3] = False
    found = probes.rates(gold, predicted)
    assert found["accuracy"] == accuracy_score(gold, predicted)
    assert found["macro-F1"] == pytest.approx(f1_score(gold, predicted, labels=[0, 1, 2], average="macro"))


def test_the_interval_of_a_share_is_wilsons():
    """p = 8 / 10: (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4 n^2)) / (1 + z^2 / n)."""
    z, p, n = 1.959964, 0.8, 10
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    share, low, high = probes.proportion(np.array([1] * 8 + [0] * 2))
    assert share == p and (low, high) == pytest.approx([(middle + s * half) / (1 + z * z / n) for s in (-1, 1)])
