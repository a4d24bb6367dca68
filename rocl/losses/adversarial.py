"""Vectors in which languages, or any domains, cannot be told apart: reversed gradients, and a critic's distance.

R rows, D width.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor


class Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


def reverse(x: Tensor, strength: float) -> Tensor:
    """x itself; on the way back its gradient, times -strength (Ganin et al. 2016, 1505.07818, equations 15 and 16).

    What stands behind it, a discriminator, learns with its own whole gradient; what stands before it learns to mislead.
    """
    return Reversal.apply(x, strength)


def ramp(progress: float, steepness: float = 10.0) -> float:
    """The strength of reversal over time, from 0 to nearly 1: 2 / (1 + exp(-10 p)) - 1 (Ganin et al. 2016, 5.2.2)."""
    return 2 / (1 + math.exp(-steepness * progress)) - 1


def wasserstein(said: Tensor, inside: Tensor) -> Tensor:
    """The critic's mean (R,) over the rows inside a domain minus its mean over the others: a number (ADAN, Chen et al.
    2018, 1606.01614, equation 3); 0 where one of the two is empty. `inside` (R,) is 1 or 0.

    The critic maximises it under a bound on its slope, by `clip` or by `slope_penalty`; the encoder minimises it.
    """
    inside = inside.to(said.dtype)
    one, other = inside.sum(), (1 - inside).sum()
    difference = (said * inside).sum() / one.clamp(min=1) - (said * (1 - inside)).sum() / other.clamp(min=1)
    return difference * (one > 0) * (other > 0)


def slope_penalty(critic: Callable[[Tensor], Tensor], one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Mean squared distance from 1 of the critic's slope between pairs of vectors (R, D) of two domains: a number.

    The slope is taken `share` (R, 1) of the way from each vector to its partner (Gulrajani et al. 2017, 1704.00028,
    equation 3).
    """
    between = (one + share * (other - one)).detach().requires_grad_()  # (R, D)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)  # (R, D)
    return (slope.norm(dim=1) - 1).square().mean()


@torch.no_grad()
def clip(module: torch.nn.Module, bound: float = 0.01) -> None:
    """Every weight of the critic back into [-bound, bound], which bounds its slope (ADAN: 0.01)."""
    for parameter in module.parameters():
        parameter.clamp_(-bound, bound)
