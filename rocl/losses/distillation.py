"""Learning from a teacher: soft labels, their mixture with gold over time, and logit matching. R rows, C labels.

A teacher is known by its logits, so that temperature and kind stay the student's choice. Time is progress in [0, 1].
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from rocl.losses.classification import classify, is_many


def soften(logits: Tensor, temperature: float = 1.0, *, kind: str) -> Tensor:
    """Probabilities (R, C) of these logits at a temperature: softmax for kind "one", sigmoids for kind "many"."""
    logits = logits / temperature
    return torch.sigmoid(logits) if is_many(kind) else torch.softmax(logits, -1)


def anneal(gold: Tensor, soft: Tensor, progress: float) -> Tensor:
    """Teacher annealing (BAM, Clark et al. 2019, 1907.04829): a target (R, C) that turns from soft to gold labels.

    Cross-entropy is linear in its target, so `classify` on this one is the same mixture of the two losses.
    """
    return progress * gold + (1 - progress) * soft


def distil(logits: Tensor, teacher_logits: Tensor, temperature: float, *, kind: str) -> Tensor:
    """T^2 times the divergence of the student from its teacher, both at temperature T, a row: (R,).

    Hinton et al. 2015, 1503.02531: the soft gradients shrink with 1/T^2, so the factor keeps them comparable to gold's.
    kind "one": T^2 KL(teacher || student), a sum over the labels, not a mean. kind "many": T^2 times the mean of the
    labels' binary cross-entropies; what makes those a KL, minus the teacher's entropy, is a constant and is dropped.
    """
    if is_many(kind):
        target = soften(teacher_logits, temperature, kind=kind)
        return temperature**2 * classify(logits / temperature, target, kind=kind)
    student = torch.log_softmax(logits / temperature, -1)  # (R, C)
    teacher = torch.log_softmax(teacher_logits / temperature, -1)  # (R, C)
    return temperature**2 * F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)


def match_logits(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Squared difference of the logits, mean over the labels, a row: (R,)."""
    return (logits - teacher_logits).square().mean(-1)


def annealed_scale(progress: float, tau_max: int, first_phase: float) -> float:
    """Phi: what teacher logits are multiplied by, 1/tau_max, 2/tau_max, ..., 1 in equal shares of the first phase.

    `first_phase` is where in [0, 1] that phase ends. From there on the scale is 1: it never overshoots, also where
    steps or epochs do not divide evenly by tau_max.
    """
    stage = 1 + math.floor(progress / first_phase * tau_max + 1e-9)  # 2/14 of 7 is stage 2, whatever its last bit
    return min(stage, tau_max) / tau_max


def jafari(
    logits: Tensor,
    teacher_logits: Tensor,
    gold: Tensor,
    progress: float,
    *,
    tau_max: int,
    first_phase: float,
    kind: str,
) -> Tensor:
    """Annealing-KD (Jafari et al. 2021, 2104.07163), a row: (R,).

    Up to `first_phase` the student matches logits with its teacher's, scaled by `annealed_scale`; then it learns from
    gold (R, C) alone. The paper: tau_max 7 and first_phase 14/18 on GLUE (14 and 4 epochs).
    """
    if progress < first_phase:
        return match_logits(logits, annealed_scale(progress, tau_max, first_phase) * teacher_logits)
    return classify(logits, gold, kind=kind)
