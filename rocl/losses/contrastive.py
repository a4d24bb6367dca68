"""Rows that belong together close to each other, all others apart. R rows, D width, C labels, K keys in a queue.

Vectors are normalised here, and all is float32 whatever comes in. Losses over a group are one number: an objective that
uses them is `together`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

BLOCK = 1024  # anchors whose similarities to all rows are held at once


def unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors.float(), dim=-1, eps=1e-6)


def supervised_contrastive(
    vectors: Tensor, labels: Tensor, temperature: float = 0.3, *, domain: Tensor | None = None
) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, 2004.11362, L_out): a number.

    Of each row of `vectors` (R, D): the mean over its positives of -log p(positive), where p is a softmax over all
    other rows; then the mean over the rows that have a positive, 0 if none has. Rows with the same label are positives;
    of rows with many labels those that share one, weighted by the share of their labels (R, C) in common (Jaccard).
    With `domain` (R,) only rows of another domain are, the same label in the other language, and those of its own
    domain are left out of the softmax. Memory grows with R, not with its square.
    """
    x, labels = unit(vectors), labels.float()
    if domain is None:
        domain = torch.arange(len(x), device=x.device)  # another row is always another
    losses, counted = [], []
    for begin in range(0, len(x), BLOCK):
        arguments = (x, labels, domain, temperature, begin)
        loss, count = checkpoint(anchors, *arguments, use_reentrant=False) if len(x) > BLOCK else anchors(*arguments)
        losses.append(loss)
        counted.append(count)
    return torch.stack(losses).sum() / torch.stack(counted).sum().clamp(min=1)


def anchors(x: Tensor, labels: Tensor, domain: Tensor, temperature: float, begin: int) -> tuple[Tensor, Tensor]:
    """The sum of the losses of up to BLOCK anchors from `begin` on, and how many of them have a positive."""
    end = min(begin + BLOCK, len(x))
    itself = torch.arange(begin, end, device=x.device)[:, None] == torch.arange(len(x), device=x.device)  # (A, R)
    shared = labels[begin:end] @ labels.T  # (A, R)
    either = labels[begin:end].sum(1)[:, None] + labels.sum(1) - shared  # (A, R)
    out = itself | (shared > 0) & (domain[begin:end, None] == domain)  # (A, R)
    logits = (x[begin:end] @ x.T / temperature).masked_fill(out, -torch.inf)  # (A, R)
    logp = logits.log_softmax(1).masked_fill(out, 0)  # (A, R)
    weights = shared / either.clamp(min=1) * ~out  # (A, R)
    total = weights.sum(1)  # (A,)
    has = total > 0
    each = -(weights * logp).sum(1) / total.where(has, torch.ones_like(total))  # (A,)
    return (each * has).sum(), has.sum()


def info_nce(one: Tensor, two: Tensor, temperature: float = 0.05) -> Tensor:
    """Each of `one` (R, D) must find its partner in `two` (R, D) among all of them, and the other way round: the mean
    cross-entropy (van den Oord et al. 2018, 1807.03748; both ways as in Radford et al. 2021, 2103.00020)."""
    logits = unit(one) @ unit(two).T / temperature  # (R, R)
    partner = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, partner) + F.cross_entropy(logits.T, partner)) / 2


def momentum_contrast(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float = 0.07) -> Tensor:
    """Each query (R, D) must find its key (R, D) among a queue (K, D) of keys of earlier rows: (R,) (MoCo, He et al.
    2020, 1911.05722, equation 1). Nothing goes back into keys and queue."""
    q, k, past = unit(queries), unit(keys).detach(), unit(queue).detach()
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ past.T], 1) / temperature  # (R, 1 + K)
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device), reduction="none")
