"""Proves that every row takes its turn, that a resumed run counts on, and that packing loses nothing."""

from functools import partial

import numpy as np
import pytest
import tiny

from rocl.data import batches, tokens

SIZES = [10, 37, 100]


def counts(pairs: np.ndarray) -> np.ndarray:
    return np.bincount(pairs[:, 0], minlength=len(SIZES))


def test_one_task_takes_every_row_once_a_pass():
    for number in range(3):
        pairs = batches.proportional([50], 1, number, 3)
        assert sorted(pairs[:, 1]) == list(range(50))


def test_shares_are_those_of_size_to_a_power():
    pairs = batches.proportional(SIZES, 1, 0, 1, exponent=0.5)
    assert np.abs(counts(pairs) - batches.proportions(SIZES, 0.5) * sum(SIZES)).max() < 1


def test_a_task_goes_through_all_its_rows_before_any_comes_again():
    pairs = np.concatenate([batches.proportional(SIZES, 3, n, 7, exponent=0.3, last=1.0) for n in range(7)])
    for task, size in enumerate(SIZES):
        rows = pairs[pairs[:, 0] == task, 1]
        for begin in range(0, len(rows) - size + 1, size):
            assert sorted(rows[begin : begin + size]) == list(range(size))


def test_the_exponent_is_annealed_over_the_passes():
    first = batches.proportional(SIZES, 1, 0, 5, exponent=1.0, last=0.2)
    last = batches.proportional(SIZES, 1, 4, 5, exponent=1.0, last=0.2)
    assert counts(first).tolist() == SIZES
    assert np.abs(counts(last) - batches.proportions(SIZES, 0.2) * sum(SIZES)).max() < 1


def test_what_a_run_takes_beyond_its_passes_stands_where_the_last_one_ended():
    asked = []

    def sampling(sizes, seed, number, passes):
        asked.append((number, passes))
        return batches.proportional(sizes, seed, number, passes, exponent=1.0, last=0.2)

    count = -(-3 * sum(SIZES) // 32)
    whole = np.concatenate(list(batches.steps(SIZES, seed=1, batch=32, steps=count, sampling=sampling)))
    assert asked[-1] == (3, 3) and len(whole) > 3 * sum(SIZES)
    shares = counts(whole[2 * sum(SIZES) : 3 * sum(SIZES)])
    assert np.abs(shares - batches.proportions(SIZES, 0.2) * sum(SIZES)).max() < 1


@pytest.mark.parametrize(("sizes", "exponent"), [((1, 100), 2.0), ((0, 10), 0.75), ((3, 400), 0.0), ((7, 5), 1.0)])
@pytest.mark.parametrize("number", [0, 2])
def test_a_pass_is_that_of_a_loop_over_places(sizes, exponent, number):
    """A small task may have no turn in a pass, or many."""
    found = batches.proportional(sizes, 5, number, 3, exponent=exponent)
    before = [batches.proportional(sizes, 5, n, 3, exponent=exponent) for n in range(number)]
    for task, size in enumerate(sizes):
        begun = sum(int((pairs[:, 0] == task).sum()) for pairs in before)
        own = found[found[:, 0] == task, 1]
        slow = [
            batches.shuffled(5, task, place // size, size)[place % size] for place in range(begun, begun + len(own))
        ]
        assert own.tolist() == slow


def test_exponent_zero_is_uniform():
    assert np.ptp(counts(batches.proportional(SIZES, 1, 0, 1, exponent=0.0))) <= 1


def test_another_seed_is_another_order_and_the_same_seed_the_same():
    one, again, other = (batches.proportional(SIZES, seed, 0, 1) for seed in (1, 1, 2))
    assert (one == again).all() and (one != other).any()


@pytest.mark.parametrize("start", [0, 1, 7, 12])
def test_a_resumed_order_is_the_rest_of_the_whole(start):
    options = dict(seed=5, batch=16, steps=20, sampling=batches.proportional)
    whole = list(batches.steps(SIZES, **options))
    rest = list(batches.steps(SIZES, **options, start=start))
    assert len(whole) == 20 and all(len(step) == 16 for step in whole)
    assert all((a == b).all() for a, b in zip(whole[start:], rest, strict=True))


def test_a_batch_larger_than_a_pass_is_filled_from_the_next():
    (step,) = batches.steps([5], seed=1, batch=12, steps=1, sampling=partial(batches.proportional, exponent=1.0))
    assert np.bincount(step[:, 1], minlength=5).min() == 2


@pytest.fixture
def table(tmp_path):
    tokenizer = tokens.tokenizer(tiny.checkpoint(tmp_path / "encoder").folder())
    return batches.table(tiny.task("many", kind="many"), "train", tokenizer, tmp_path), tokenizer


def test_a_batch_holds_its_rows_tokens_and_nothing_else(table):
    table, tokenizer = table
    rows = np.array([7, 3, 59, 3])
    batch = table.batch(rows)
    for place, row in enumerate(rows):
        text = table.task.rows("train")[row].texts[0]
        expected = tokenizer.backend.encode(text).ids
        assert batch.ids[batch.starts[place] : batch.starts[place + 1]].tolist() == expected
    assert batch.starts[-1] == len(batch.ids) and batch.rows.tolist() == [0, 1, 2, 3, 4]
    assert batch.lengths == batch.starts.diff().tolist()
    assert (batch.columns["labels"].numpy() == table.task.gold("train")[rows]).all()
    assert batch.row_ids == [f"train-{row}" for row in rows]


@pytest.mark.parametrize("budget", [1, 20, 64, 10_000])
def test_cuts_hold_every_row_once_within_the_budget(table, budget):
    table, _ = table
    parts = list(table.cut(np.arange(60), budget))
    assert sorted(np.concatenate(parts)) == list(range(60))
    assert all(len(part) == 1 or table.lengths[part].sum() <= budget for part in parts)


def test_rows_of_several_texts_are_never_divided(tmp_path):
    from dataclasses import replace

    from rocl.data.corpus import Row

    task = tiny.task("pair")
    rows = [Row("a", ("bara", "desi desi desi"), ("pair0",)), Row("b", ("fito",), ("pair1",))]
    corpus = replace(task.corpus, read=lambda paths: {"train": rows, "dev": [], "test": []})
    tokenizer = tokens.tokenizer(tiny.checkpoint(tmp_path / "encoder").folder())
    batch = batches.table(replace(task, corpus=corpus), "train", tokenizer, None).batch(np.array([1, 0]))
    assert batch.rows.tolist() == [0, 1, 3] and batch.starts.diff().tolist() == [3, 3, 5]
