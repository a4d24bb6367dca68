"""Two passes over one row that should agree. R rows, C labels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from rocl.losses.classification import is_many


def disagreement(one: Tensor, two: Tensor, *, kind: str) -> Tensor:
    """Half the sum of both Kullback-Leibler divergences between two predictions, from logits (R, C), a row: (R,).

    R-Drop (Liang et al. 2021, 2106.14448, equation 2). kind "many": the mean over the labels' decisions.
    """
    if is_many(kind):  # (p - q) (logit p - logit q), which is KL(p || q) + KL(q || p) of yes or no
        return ((torch.sigmoid(one) - torch.sigmoid(two)) * (one - two)).mean(-1) / 2
    p, q = F.log_softmax(one, -1), F.log_softmax(two, -1)  # (R, C)
    return ((p.exp() - q.exp()) * (p - q)).sum(-1) / 2
