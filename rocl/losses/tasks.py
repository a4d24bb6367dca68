"""How tasks that are learned together share the encoder: the weight of each loss, and what to do where gradients
disagree. K tasks, P parameters."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import torch
from torch import Tensor


def uncertain(loss: Tensor, log_variance: Tensor) -> Tensor:
    """A task's loss (R,) weighted by how uncertain it is found to be: exp(-s) L + s / 2, s = log sigma^2 is learned
    (Kendall et al. 2018, 1705.07115, equation 10). For a constant L the best s is log 2L."""
    return torch.exp(-log_variance) * loss + log_variance / 2


def summed(gradients: Mapping[str, Tensor], order: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """The sum of the tasks' gradients (P,), as if nothing were combined, and the cosines."""
    total = torch.stack(list(gradients.values())).sum(0)
    return total, cosines({**gradients, "the step": total})


def pcgrad(gradients: Mapping[str, Tensor], order: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """The sum of the gradients (P,) after each has lost what goes against another (Yu et al. 2020, 2001.06782,
    algorithm 1), and the cosines. The others come in a random order; each is taken as it was."""
    total = torch.zeros_like(next(iter(gradients.values())))
    for name, own in gradients.items():
        left = own
        for other in order.permutation([other for other in gradients if other != name]).tolist():
            against = gradients[other]
            left = left - (left @ against).clamp(max=0) / (against @ against).clamp(min=1e-30) * against
        total = total + left
    return total, cosines({**gradients, "the step": total})


def cosines(gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of each two, of tasks or of a task and the step: 1 where they agree, below 0 where they are in conflict."""
    return {
        f"cosine of {one} and {two}": torch.cosine_similarity(gradients[one], gradients[two], dim=0)
        for one, two in combinations(gradients, 2)
    }
