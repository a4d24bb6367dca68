"""Losses as plain functions on float32 logits. One that judges rows returns a number a row, (R,); the loop averages."""

from rocl.losses.classification import classify, smooth
from rocl.losses.distillation import anneal, annealed_scale, distil, jafari, match_logits, soften

__all__ = ["anneal", "annealed_scale", "classify", "distil", "jafari", "match_logits", "smooth", "soften"]
