"""Cross-entropy of rows with one label or many; a target is probabilities, 0 and 1 among them. R rows, C labels."""

import torch
import torch.nn.functional as F
from torch import Tensor


def classify(logits: Tensor, target: Tensor, *, kind: str, known: Tensor | None = None) -> Tensor:
    """Cross-entropy between target (R, C) and logits (R, C), a row: (R,).

    kind "one": softmax over the labels, -sum_c target_c log p_c. kind "many": each label decides for itself, and the
    mean of their binary cross-entropies is taken. The gradient in a logit is p - target, over C where kind is "many".
    With `known` (R, C), 1 or 0, a row is asked for those labels alone, as if the others did not exist: soft targets are
    scaled to sum to 1 over them, and no gradient reaches the others.
    """
    target = target.to(logits.dtype)
    if is_many(kind):
        each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")  # (R, C)
        return each.mean(-1) if known is None else (each * known).sum(-1) / known.sum(-1).clamp(min=1)  # (R,)
    if known is not None:
        target = target * known / (target * known).sum(-1, keepdim=True).clamp(min=1e-12)
        logits = logits.masked_fill(known == 0, torch.finfo(logits.dtype).min / 2)
    return F.cross_entropy(logits, target, reduction="none")  # (R,)


def smooth(target: Tensor, amount: float, *, kind: str) -> Tensor:
    """Label smoothing: the target (R, C) with `amount` of its mass spread evenly over what a label could have been.

    That is the C labels for kind "one", and yes or no for each label of kind "many".
    """
    choices = 2 if is_many(kind) else target.shape[-1]
    return (1 - amount) * target + amount / choices  # (R, C)


def is_many(kind: str) -> bool:
    """Whether labels are of kind "many"; anything but "one" and "many" is a ValueError."""
    if kind not in ("one", "many"):
        raise ValueError(f'kind is {kind!r}; labels are of kind "one" or "many"')
    return kind == "many"
