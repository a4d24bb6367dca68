"""Losses give the published formulas' numbers, values and gradients, one float32 number a row, at any logits."""

import math
from itertools import permutations, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from rocl.losses import (
    anneal,
    annealed_scale,
    classify,
    disagreement,
    distil,
    jafari,
    match_logits,
    pcgrad,
    smooth,
    soften,
    summed,
    uncertain,
)

TEACHER = torch.tensor([[2.0, 1.0, 0.0]])
STUDENT = torch.tensor([[1.0, 2.0, 3.0]])
GOLD = torch.tensor([[0.0, 0.0, 1.0]])


def near(tensor: torch.Tensor, *numbers: float, rtol: float = 1e-5, atol: float = 1e-7) -> None:
    assert tensor.dtype == torch.float32
    assert_close(tensor.flatten(), torch.tensor(numbers), rtol=rtol, atol=atol)


def test_softened_teacher():
    near(soften(TEACHER, kind="one"), 0.6652409558, 0.2447284711, 0.0900305732)
    near(soften(2 * TEACHER, 2.0, kind="one"), 0.6652409558, 0.2447284711, 0.0900305732)
    near(soften(TEACHER, kind="many"), 0.8807970780, 0.7310585786, 0.5)


@pytest.mark.parametrize(
    "progress, loss",
    [(0, 1.9828163470), (0.25, 1.5890137514), (0.5, 1.1952111557), (0.75, 0.8014085601), (1, 0.4076059644)],
)
def test_teacher_annealing_of_one_label(progress, loss):
    target = anneal(GOLD, soften(TEACHER, kind="one"), progress)
    logits = STUDENT.clone().requires_grad_()
    value = classify(logits, target, kind="one")
    near(value.detach(), loss)
    value.sum().backward()
    assert_close(logits.grad, torch.softmax(STUDENT, -1) - target)


@pytest.mark.parametrize("progress, loss", [(0, 1.0036602265), (0.5, 0.6584609570), (1, 0.3132616875)])
def test_teacher_annealing_of_many_labels_is_a_mean_over_labels(progress, loss):
    target = anneal(torch.tensor([[1.0, 0.0]]), soften(torch.tensor([[0.0, 2.0]]), kind="many"), progress)
    logits = torch.tensor([[1.0, -1.0]], requires_grad=True)
    value = classify(logits, target, kind="many")
    near(value.detach(), loss)
    value.sum().backward()
    assert_close(logits.grad, (torch.sigmoid(logits.detach()) - target) / 2)


def test_integer_gold_labels_are_a_target_as_well():
    near(classify(STUDENT, GOLD.to(torch.uint8), kind="one"), 0.4076059644)
    near(classify(STUDENT[:, :2], torch.tensor([[1, 0]], dtype=torch.uint8), kind="many"), 1.2200949192)


@pytest.mark.parametrize(
    "temperature, divergence, cross_entropy",
    [(1.0, 1.1504207652, 1.9828163470), (2.0, 0.3201566678, 1.3403480046), (4.0, 0.0824768695, 1.1605765192)],
)
def test_hinton_divergence_and_its_distance_to_cross_entropy(temperature, divergence, cross_entropy):
    near(distil(STUDENT, TEACHER, temperature, kind="one"), temperature**2 * divergence)
    near(classify(STUDENT / temperature, soften(TEACHER, temperature, kind="one"), kind="one"), cross_entropy)


@pytest.mark.parametrize(
    "temperature, slope", [(1.0, 0.57521038), (10.0, 0.66555796), (100.0, 0.66665556), (1000.0, 0.66666656)]
)
def test_hinton_gradients_up_to_the_limit_of_logit_matching(temperature, slope):
    logits = STUDENT.clone().requires_grad_()
    distil(logits, TEACHER, temperature, kind="one").sum().backward()
    near(logits.grad, -slope, 0.0, slope, rtol=1e-3, atol=2e-4 if temperature > 100 else 1e-5)  # float32 at T 1000


def test_hinton_limit_in_double_precision_is_the_centred_difference_of_logits():
    logits = STUDENT.double().requires_grad_()
    distil(logits, TEACHER.double(), 1e5, kind="one").sum().backward()
    difference = STUDENT - TEACHER
    assert_close(logits.grad, ((difference - difference.mean()) / 3).double(), rtol=1e-4, atol=1e-4)


def test_more_labels_do_not_weaken_distillation():
    absent = torch.full((1, 4), -1e4)  # four further labels that both hold impossible
    few = distil(STUDENT, TEACHER, 2.0, kind="one")
    more = distil(torch.cat([STUDENT, absent], 1), torch.cat([TEACHER, absent], 1), 2.0, kind="one")
    assert_close(few, more)


def test_distillation_of_many_labels():
    student, teacher, temperature = torch.tensor([[1.0, -1.0]], requires_grad=True), torch.tensor([[0.0, 2.0]]), 2.0
    value = distil(student, teacher, temperature, kind="many")
    p, q = torch.sigmoid(teacher / temperature), torch.sigmoid(student / temperature)
    by_hand = -(p * q.log() + (1 - p) * (1 - q).log()).mean(-1) * temperature**2
    assert_close(value, by_hand)
    value.sum().backward()
    assert_close(student.grad, (temperature * (q - p) / 2).detach())
    same = teacher.clone().requires_grad_()
    distil(same, teacher, temperature, kind="many").sum().backward()
    assert_close(same.grad, torch.zeros_like(teacher))


def test_smoothing_spreads_over_what_a_label_could_have_been():
    near(smooth(GOLD, 0.1, kind="one"), 0.1 / 3, 0.1 / 3, 0.9 + 0.1 / 3)
    near(smooth(torch.tensor([[1.0, 0.0]]), 0.1, kind="many"), 0.95, 0.05)
    expected = F.cross_entropy(STUDENT, torch.tensor([2]), label_smoothing=0.1, reduction="none")
    assert_close(classify(STUDENT, smooth(GOLD, 0.1, kind="one"), kind="one"), expected)


@pytest.mark.parametrize("stage, loss", [(1, 0.2959183673), (3, 0.3775510204), (7, 2.5)])
def test_logit_matching(stage, loss):
    near(match_logits(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, -2.0]]) * stage / 7), loss)


@pytest.mark.parametrize("epochs, tau_max", [(14, 7), (20, 10)])
def test_annealed_scale_takes_equal_shares_of_its_phase(epochs, tau_max):
    stages = [
        round(tau_max * annealed_scale(epoch / (epochs + 4), tau_max, epochs / (epochs + 4))) for epoch in range(epochs)
    ]
    assert stages == [1 + epoch // 2 for epoch in range(epochs)]
    scales = [annealed_scale(epoch / 14, 7, 1.0) for epoch in range(0, 14, 2)]
    assert scales == pytest.approx([0.142857, 0.285714, 0.428571, 0.571429, 0.714286, 0.857143, 1.0], abs=1e-6)


def test_annealed_scale_never_overshoots():
    scales = [annealed_scale(epoch / 14, 4, 1.0) for epoch in range(15)]
    assert max(scales) == 1.0 and scales == sorted(scales)
    assert annealed_scale(0.9, 7, 0.5) == 1.0


def test_jafari_matches_logits_first_and_learns_from_gold_after():
    student, teacher, gold = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, -2.0]]), torch.tensor([[1.0, 0.0]])
    rest = {"tau_max": 7, "first_phase": 14 / 18, "kind": "one"}
    near(jafari(student, teacher, gold, 0.0, **rest), 0.2959183673)
    near(jafari(student, teacher, gold, 4 / 18, **rest), 0.3775510204)
    near(jafari(student, teacher, gold, 13 / 18, **rest), 2.5)
    near(jafari(student, teacher, gold, 14 / 18, **rest), math.log1p(math.exp(-1)))


@pytest.mark.parametrize("kind", ["one", "many"])
def test_rows_are_judged_alone_and_extreme_logits_stay_finite(kind):
    generator = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(2, 5, 4, generator=generator) * torch.tensor([1, 30, 1e3, 1e4, 0.0])[:, None]
    gold = F.one_hot(torch.arange(5) % 4, 4).float()
    logits.requires_grad_()
    functions = [
        lambda rows: classify(logits[rows], gold[rows], kind=kind),
        lambda rows: classify(logits[rows], anneal(gold[rows], soften(teacher[rows], kind=kind), 0.3), kind=kind),
        lambda rows: distil(logits[rows], teacher[rows], 3.0, kind=kind),
        lambda rows: match_logits(logits[rows], teacher[rows]),
    ]
    for function in functions:
        together = function(slice(None))
        assert together.shape == (5,) and together.isfinite().all()
        assert_close(together, torch.cat([function(slice(row, row + 1)) for row in range(5)]))
        (slope,) = torch.autograd.grad(together.sum(), logits)
        assert slope.isfinite().all()


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'multi'"):
        classify(STUDENT, GOLD, kind="multi")


def test_disagreement_of_two_passes():
    one, two = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    near(disagreement(one, two, kind="one"), 0.46211715726)
    near(disagreement(one, one, kind="one"), 0.0)


@pytest.mark.parametrize("kind", ["one", "many"])
def test_disagreement_is_half_of_both_divergences(kind):
    torch.manual_seed(0)
    one, two = torch.randn(5, 4), torch.randn(5, 4)
    p, q = soften(one, kind=kind), soften(two, kind=kind)
    both = p * (p / q).log() + q * (q / p).log()
    if kind == "many":
        both = (both + (1 - p) * ((1 - p) / (1 - q)).log() + (1 - q) * ((1 - q) / (1 - p)).log()).mean(1)
    else:
        both = both.sum(1)
    assert_close(disagreement(one, two, kind=kind), both / 2, rtol=1e-4, atol=1e-6)


def test_an_uncertain_task_weighs_less_and_finds_its_best_weight():
    near(uncertain(torch.tensor([2.0]), torch.tensor(math.log(2))), 1.3465735902799727)
    best = torch.tensor(math.log(4), requires_grad=True)  # log 2L
    value = uncertain(torch.tensor([2.0]), best)
    near(value.detach(), 1.1931471805599454)
    value.sum().backward()
    near(best.grad, 0.0)


def test_conflicting_gradients_are_projected_and_others_left():
    random = np.random.default_rng(0)
    total, cosines = pcgrad({"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([-1.0, 1.0])}, random)
    near(total, 0.5, 1.5)
    assert_close(cosines["cosine of a and b"].item(), -(0.5**0.5))
    assert_close(cosines["cosine of a and the step"].item(), 0.5 / 2.5**0.5)
    agreeing = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([1.0, 1.0])}
    near(pcgrad(agreeing, random)[0], 2.0, 1.0)
    near(summed({"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([-1.0, 1.0])}, random)[0], 0.0, 1.0)


def test_three_tasks_are_projected_as_in_the_algorithm_whatever_the_order():
    torch.manual_seed(0)
    gradients = {name: torch.randn(3) for name in "abc"}
    wanted = []
    for orders in product(*(permutations([o for o in "abc" if o != name]) for name in "abc")):
        total = torch.zeros(3)
        for name, order in zip("abc", orders, strict=True):
            left = gradients[name].clone()
            for other in order:
                if left @ gradients[other] < 0:
                    left -= (left @ gradients[other]) / gradients[other].square().sum() * gradients[other]
            total += left
        wanted.append(total)
    for seed in range(5):
        total = pcgrad(gradients, np.random.default_rng(seed))[0]
        assert min((total - one).abs().max() for one in wanted) < 1e-5


@pytest.mark.parametrize("kind", ["one", "many"])
def test_what_a_row_does_not_know_is_as_if_it_did_not_exist(kind):
    torch.manual_seed(0)
    logits = torch.randn(3, 4, requires_grad=True)
    soft = torch.rand(3, 4)
    known = torch.tensor([[1.0, 1.0, 0.0, 1.0]]).expand(3, 4)
    target = soft / soft.sum(1, keepdim=True) if kind == "one" else soft
    value = classify(logits, target, kind=kind, known=known)
    value.sum().backward()
    few = target[:, [0, 1, 3]]
    few = few / few.sum(1, keepdim=True) if kind == "one" else few
    assert_close(value.detach(), classify(logits.detach()[:, [0, 1, 3]], few, kind=kind))
    assert logits.grad[:, 2].abs().max() == 0 and logits.grad[:, 0].abs().min() > 0
    assert_close(classify(logits, target, kind=kind, known=torch.ones(3, 4)), classify(logits, target, kind=kind))
