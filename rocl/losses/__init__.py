"""Losses as plain functions on float32 logits. One that judges rows returns a number a row, (R,); the loop averages."""

from rocl.losses.classification import classify, smooth
from rocl.losses.distillation import anneal, annealed_scale, distil, jafari, match_logits, soften
from rocl.losses.language import approach, masked_language

__all__ = [
    "anneal",
    "annealed_scale",
    "approach",
    "classify",
    "distil",
    "jafari",
    "masked_language",
    "match_logits",
    "smooth",
    "soften",
]
