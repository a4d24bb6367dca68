"""Learning from bare text and from translations. M masked tokens, R rows, V vocabulary, D width."""

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_language(logits: Tensor, answers: Tensor, owners: Tensor, rows: int) -> Tensor:
    """Cross-entropy (BERT, Devlin et al. 2019, section 3.1) of masked tokens, a row: (R,).

    The mean over a row's masked tokens, from logits (M, V), the ids that stood there (M,) and the row of each (M,); a
    row without any gives 0.
    """
    each = F.cross_entropy(logits, answers, reduction="none")  # (M,)
    sums = torch.zeros(rows, device=each.device).index_add_(0, owners, each)  # (R,)
    counts = torch.zeros_like(sums).index_add_(0, owners, torch.ones_like(each))  # (R,)
    return sums / counts.clamp(min=1)


def approach(vectors: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of all texts of a row from one vector of a teacher, mean over texts and places: (R,).

    Of `vectors` (R, texts, D) and `teacher` (R, D): a sentence and its translation both go where the teacher puts the
    sentence (Reimers and Gurevych 2020, 2004.09813, equation 1).
    """
    return (vectors - teacher[:, None]).square().mean((1, 2))
