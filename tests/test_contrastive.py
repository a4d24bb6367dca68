"""Contrastive losses give the published numbers and equal slow loops over pairs, in blocks of rows too."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from experiments import contrastive as experiment
from rocl.losses import contrastive, info_nce, momentum_contrast, supervised_contrastive

ANGLES = torch.tensor([0.0, 60.0, 90.0, 180.0]) * math.pi / 180
VECTORS = torch.stack([ANGLES.cos(), ANGLES.sin()], 1)  # (4, 2)


def one_hot(*labels):
    return torch.nn.functional.one_hot(torch.tensor(labels))


def slowly(vectors, labels, temperature, domain=None):
    """The definition, a pair at a time, in double precision."""
    x = torch.nn.functional.normalize(vectors.double(), dim=1)
    rows, total, counted = len(x), 0.0, 0
    for i in range(rows):
        out = {i} | {a for a in range(rows) if domain is not None and domain[a] == domain[i] and labels[a] @ labels[i]}
        bottom = sum(math.exp(x[i] @ x[a] / temperature) for a in range(rows) if a not in out)
        top = weight = 0.0
        for p in range(rows):
            union = int((labels[i] | labels[p]).sum())
            if p in out or not union:
                continue
            share = int((labels[i] & labels[p]).sum()) / union
            top -= share * math.log(math.exp(x[i] @ x[p] / temperature) / bottom)
            weight += share
        if weight:
            total, counted = total + top / weight, counted + 1
    return total / max(1, counted)


@pytest.mark.parametrize(
    "temperature, loss",
    [(0.07, 4.4019150508), (0.1, 3.0899331406), (0.3, 1.2151397162), (0.5, 0.9898355745), (1.0, 0.9485009132)],
)
@pytest.mark.parametrize("length", [1.0, 7.0])
def test_the_published_numbers_whatever_the_lengths_of_the_vectors(temperature, loss, length):
    assert_close(
        supervised_contrastive(length * VECTORS, one_hot(0, 0, 1, 1), temperature).item(), loss, rtol=2e-6, atol=0
    )


def test_rows_without_a_positive_are_no_anchors_but_stand_against_the_others():
    assert_close(supervised_contrastive(VECTORS, one_hot(0, 0, 1, 2), 0.5).item(), 0.7583693723, rtol=1e-6, atol=0)


def test_one_class_alone_is_judged_too_and_no_pair_at_all_gives_zero_with_a_gradient():
    assert_close(supervised_contrastive(VECTORS, one_hot(0, 0, 0, 0), 0.5).item(), 1.5344937732, rtol=1e-6, atol=0)
    vectors = VECTORS.clone().requires_grad_()
    loss = supervised_contrastive(vectors, one_hot(0, 1, 2, 3))
    loss.backward()
    assert loss.item() == 0 and vectors.grad.abs().max() == 0


def test_identical_vectors_cost_the_logarithm_of_the_others():
    assert_close(
        supervised_contrastive(torch.ones(4, 3), one_hot(0, 0, 1, 1), 0.07).item(), math.log(3), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("languages", [1, 2])
def test_many_labels_and_two_languages_equal_the_slow_loop(seed, languages):
    torch.manual_seed(seed)
    vectors, labels = torch.randn(12, 5), (torch.rand(12, 3) < 0.4).long()
    domain = torch.randint(0, 2, (12,)) if languages == 2 else None
    fast = supervised_contrastive(vectors, labels, 0.3, domain=domain)
    assert_close(fast.item(), slowly(vectors, labels, 0.3, domain), rtol=1e-5, atol=1e-6)


def test_the_value_and_gradient_are_the_same_in_blocks(monkeypatch):
    torch.manual_seed(0)
    vectors, labels = torch.randn(50, 8, requires_grad=True), torch.randint(0, 2, (50, 4))
    whole = supervised_contrastive(vectors, labels)
    (gradient,) = torch.autograd.grad(whole, vectors)
    monkeypatch.setattr(contrastive, "BLOCK", 7)
    parts = supervised_contrastive(vectors, labels)
    assert_close(parts, whole)
    assert_close(torch.autograd.grad(parts, vectors)[0], gradient)


def test_the_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    vectors = torch.randn(6, 3)
    labels = one_hot(0, 0, 1, 1, 2, 2)
    given = vectors.clone().requires_grad_()
    supervised_contrastive(given, labels).backward()
    for row, column in ((0, 0), (3, 2), (5, 1)):
        step = torch.zeros(6, 3, dtype=torch.double)
        step[row, column] = 1e-5
        slope = (slowly(vectors + step, labels, 0.3) - slowly(vectors - step, labels, 0.3)) / 2e-5
        assert_close(given.grad[row, column].item(), slope, rtol=1e-4, atol=1e-5)


def test_half_precision_comes_out_as_float32_and_close():
    loss = supervised_contrastive(VECTORS.bfloat16(), one_hot(0, 0, 1, 1), 0.5)
    assert loss.dtype == torch.float32
    assert_close(loss.item(), 0.9898355745, rtol=2e-2, atol=0)


def test_a_vector_of_zeros_gives_finite_gradients():
    vectors = torch.cat([torch.zeros(1, 2), VECTORS]).requires_grad_()
    supervised_contrastive(vectors, one_hot(0, 0, 0, 1, 1)).backward()
    assert vectors.grad.isfinite().all()


@pytest.mark.parametrize("temperature, loss", [(0.07, 0.013670542482566887), (0.5, 0.5212591562726754)])
def test_a_query_finds_its_key_among_the_queue(temperature, loss):
    key = torch.tensor([[0.8, 0.6]])
    queue = torch.tensor([[0.5, 0.75**0.5], [-0.2, 0.96**0.5]])
    value = momentum_contrast(torch.tensor([[1.0, 0.0]]), key, queue, temperature)
    assert value.shape == (1,)
    assert_close(value.item(), loss, rtol=1e-5, atol=1e-8)


def test_nothing_goes_back_into_keys_and_queue():
    query, key, queue = (torch.randn(3, 4, requires_grad=True) for _ in range(3))
    momentum_contrast(query, key, queue).sum().backward()
    assert query.grad.abs().max() > 0 and key.grad is None and queue.grad is None


def test_partners_find_each_other_both_ways_as_in_a_slow_loop():
    torch.manual_seed(0)
    one, two = torch.randn(5, 4), torch.randn(5, 4)
    a, b = (torch.nn.functional.normalize(v.double(), dim=1) for v in (one, two))
    total = 0.0
    for from_, to in ((a, b), (b, a)):
        for i in range(5):
            exps = [math.exp(from_[i] @ to[j] / 0.05) for j in range(5)]
            total -= math.log(exps[i] / sum(exps)) / 10
    assert_close(info_nce(one, two).item(), total, rtol=1e-5, atol=1e-6)


def test_labels_lie_apart_by_the_difference_of_mean_cosines(monkeypatch):
    vectors, gold = VECTORS.numpy(), one_hot(0, 0, 1, 1).numpy()
    monkeypatch.setattr(experiment, "outputs", lambda model, table, pool: 3 * vectors)
    near = [math.cos(math.pi / 3), 0.0]
    far = [0.0, -1.0, math.cos(math.pi / 6), math.cos(math.pi * 2 / 3)]
    told = experiment.apart(None, SimpleNamespace(columns={"labels": gold}))
    assert told["apart"] == pytest.approx(sum(near) / 2 - sum(far) / 4, abs=1e-6)
    assert experiment.apart(None, SimpleNamespace(columns={"labels": one_hot(0, 0, 0, 0).numpy()})) == {"apart": 0.0}
