"""Scores equal published and hand-made numbers, over the declared labels; thresholds are the best there are on dev."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import f1_score

from rocl.metrics import confusion, decide, fit_thresholds, intervals, probabilities, scores

EMOTIONS = ("sadness", "surprise", "fear", "anger", "neutral", "trust", "joy")


def authors_predictions() -> tuple[np.ndarray, np.ndarray]:
    """Gold and predictions of 818 rows with the counts of the REDv2 authors' committed run (true, predicted, gold)."""
    counts = [
        (117, 156, 164),
        (51, 81, 87),
        (68, 101, 99),
        (110, 150, 145),
        (136, 215, 210),
        (55, 116, 94),
        (86, 97, 128),
    ]
    gold, predicted = np.zeros((2, 818, 7), np.uint8)
    for label, (true, guessed, support) in enumerate(counts):
        gold[:support, label] = 1
        predicted[support - true : support - true + guessed, label] = 1
    return gold, predicted


def one_hot(numbers: list[int], labels: int) -> np.ndarray:
    return np.eye(labels, dtype=np.uint8)[numbers]


def test_the_redv2_authors_table():
    gold, predicted = authors_predictions()
    result = scores(gold, np.where(predicted, 3.0, -5.0), EMOTIONS, "many")
    f1 = [0.7312, 0.6071, 0.6800, 0.7458, 0.6400, 0.5238, 0.7644]
    precision = [0.7500, 0.6296, 0.6733, 0.7333, 0.6326, 0.4741, 0.8866]
    recall = [0.7134, 0.5862, 0.6869, 0.7586, 0.6476, 0.5851, 0.6719]
    assert [result[f"f1/{label}"] for label in EMOTIONS] == pytest.approx(f1, abs=5e-5)
    assert [result[f"precision/{label}"] for label in EMOTIONS] == pytest.approx(precision, abs=5e-5)
    assert [result[f"recall/{label}"] for label in EMOTIONS] == pytest.approx(recall, abs=5e-5)
    assert [result[f"support/{label}"] for label in EMOTIONS] == [164, 87, 99, 145, 210, 94, 128]
    assert result["micro_f1"] == result["redv2_authors/micro_f1"] == pytest.approx(0.6760716223548562)
    assert result["macro_f1"] == pytest.approx(0.6703442196087475)
    assert result["hamming_loss"] == result["redv2_authors/hamming_loss"] == pytest.approx(0.10426126440796367)
    assert result["macro_precision"] == pytest.approx(np.mean(precision), abs=5e-5)
    assert result["accuracy"] == (gold == predicted).all(1).mean()


def test_the_authors_figures_stay_at_one_half_and_their_error_is_of_raw_logits():
    gold = np.zeros((818, 7), np.uint8)
    gold[:164, 0], gold[164:427, 1], gold[:500, 2] = 1, 1, 1  # 927 positives, as in REDv2's test split
    result = scores(gold, np.full((818, 7), -5.0), EMOTIONS, "many", thresholds=np.zeros(7))
    assert result["redv2_authors/mse"] == pytest.approx(26.78, abs=0.005)
    assert result["redv2_authors/hamming_loss"] == pytest.approx(0.1619, abs=5e-5)
    assert result["hamming_loss"] == pytest.approx(1 - 927 / 5726)
    assert result["redv2_authors/accuracy"] == (gold.sum(1) == 0).mean()


def test_macro_f1_is_over_all_declared_labels():
    gold, predicted = one_hot([0, 1, 1], 4), one_hot([0, 1, 2], 4)  # label 2 only predicted, label 3 nowhere
    result = scores(gold, predicted.astype(float), "abcd", "one")
    assert result["macro_f1"] == pytest.approx(0.417, abs=5e-4)
    numbers = gold.argmax(1), predicted.argmax(1)  # the two conventions it is not
    assert f1_score(*numbers, average="macro", zero_division=0) == pytest.approx(0.556, abs=5e-4)
    assert f1_score(*numbers, average="macro", labels=[0, 1], zero_division=0) == pytest.approx(0.833, abs=5e-4)
    assert (result["f1/c"], result["f1/d"], result["support/d"]) == (0, 0, 0)
    assert result["accuracy"] == result["micro_f1"] == pytest.approx(2 / 3)


def test_one_label_takes_the_most_probable_and_many_take_all_above():
    logits = np.array([[0.0, 2.0, 1.0], [0.0, 0.0, -1.0], [-3.0, -4.0, -5.0]])
    assert decide(probabilities(logits, "one"), "one").tolist() == [[0, 1, 0], [1, 0, 0], [1, 0, 0]]
    assert decide(probabilities(logits, "many"), "many").tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0]]
    tuned = np.array([0.6, 0.9, 0.001])
    assert decide(probabilities(logits, "many"), "many", tuned).tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 1]]
    with pytest.raises(ValueError, match="thresholds"):
        decide(logits, "one", tuned)


def test_probabilities_are_those_of_the_formulas():
    assert probabilities(np.array([[2.0, 1.0, 0.0]]), "one")[0] == pytest.approx(
        [0.6652409558, 0.2447284711, 0.0900305732]
    )
    assert probabilities(np.array([[0.0, 2.0]], np.float32), "many")[0] == pytest.approx([0.5, 0.8807970780])


def test_confusion_counts_gold_down_and_predictions_across():
    matrix = confusion(one_hot([0, 1, 1, 2], 4), one_hot([0, 1, 2, 1], 4))
    assert matrix.tolist() == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_the_threshold_of_the_worked_example():
    gold, probable = np.array([[1], [0], [1], [0]]), np.array([[0.9], [0.7], [0.4], [0.2]])
    (threshold,) = fit_thresholds(gold, probable)
    assert threshold == pytest.approx(0.3)  # accepts .4 and refuses .2
    assert f1_score(gold, decide(probable, "many", threshold)) == pytest.approx(0.8)


def test_thresholds_are_the_best_of_all_and_the_highest_of_equals():
    generator = np.random.default_rng(0)
    for _ in range(30):
        gold = generator.integers(0, 2, (12, 3))
        probable = generator.integers(0, 8, (12, 3)) / 8 + 0.05  # few distinct values, so that there are ties
        fitted = fit_thresholds(gold, probable)
        assert fitted.tolist() == fit_thresholds(gold[::-1], probable[::-1]).tolist()
        for label, threshold in enumerate(fitted):
            columns = gold[:, label], probable[:, label]
            every = {cut: f1_score(columns[0], columns[1] >= cut, zero_division=0) for cut in np.unique(columns[1])}
            best = max(every.values())
            highest = max(cut for cut, f1 in every.items() if f1 > best - 1e-9)
            assert (columns[1] >= threshold).tolist() == (columns[1] >= highest).tolist()


def test_thresholds_where_there_is_nothing_to_choose():
    assert fit_thresholds(np.zeros((3, 1)), np.array([[0.2], [0.3], [0.9]])).tolist() == [0.5]
    everything = fit_thresholds(np.ones((3, 1)), np.array([[0.2], [0.3], [0.9]], np.float32))
    assert everything == pytest.approx([0.1])
    near, next_to = 0.3, np.nextafter(0.3, 0)
    (threshold,) = fit_thresholds(np.array([[1], [0]]), np.array([[near], [next_to]]))
    assert next_to < threshold <= near


def test_unusable_input_is_refused():
    gold, logits = one_hot([0, 1], 2), np.zeros((2, 2))
    for wrong in (logits[:1], logits[:, :1]):
        with pytest.raises(ValueError, match="do not fit"):
            scores(gold, wrong, "ab", "one")
    with pytest.raises(ValueError, match="do not fit"):
        scores(gold, logits, "abc", "one")
    with pytest.raises(ValueError, match="1 rows are not numbers"):
        scores(gold, np.array([[0, 1], [0, np.nan]]), "ab", "one")


def test_scores_are_plain_floats_under_the_same_names_for_every_split():
    generator = np.random.default_rng(0)
    keys = []
    for rows, kind in itertools.product((1, 40), ("one", "many")):
        gold = one_hot(generator.integers(0, 3, rows).tolist(), 3)
        result = scores(gold, generator.normal(size=(rows, 3)), "abc", kind)
        assert all(type(value) is float and np.isfinite(value) for value in result.values())
        keys.append(list(result))
    assert keys[0] == keys[2] and keys[1] == keys[3]


@pytest.mark.parametrize("kind", ["one", "many"])
def test_intervals_are_those_of_a_slow_bootstrap(kind):
    draw = np.random.default_rng(3)
    if kind == "one":
        gold, said = (np.eye(4, dtype=np.uint8)[draw.integers(0, high, 40)] for high in (4, 3))  # one is never said
    else:
        gold, said = (draw.integers(0, 2, (40, 4), dtype=np.uint8) for _ in range(2))
    accuracies, f1s = [], []
    for counts in np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), 200):
        rows = np.repeat(np.arange(40), counts)
        accuracies.append((gold[rows] == said[rows]).all(1).mean())
        f1s.append(f1_score(gold[rows], said[rows], average="macro", zero_division=0))
    found = intervals(gold, said, 200)
    for name, values in (("accuracy", accuracies), ("macro_f1", f1s)):
        ends = found[f"{name}/low"], found[f"{name}/high"]
        np.testing.assert_allclose(ends, np.percentile(values, [2.5, 97.5]), atol=1e-6)


def test_only_scores_that_ask_for_draws_have_intervals():
    gold = np.eye(3)[[0, 1, 2, 1]]
    assert not any(name.endswith(("/low", "/high")) for name in scores(gold, gold, "abc", "one"))
    sure = scores(gold, 9 * gold, "abc", "one", draws=50)
    assert sure["accuracy/low"] == sure["accuracy/high"] == 1 and sure["macro_f1/high"] == 1
