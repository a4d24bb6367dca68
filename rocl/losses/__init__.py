"""Losses as plain functions on float32 logits. One that judges rows returns a number a row, (R,); the loop averages."""

from rocl.losses.adversarial import clip, ramp, reverse, slope_penalty, wasserstein
from rocl.losses.classification import classify, smooth
from rocl.losses.consistency import disagreement
from rocl.losses.contrastive import info_nce, momentum_contrast, supervised_contrastive
from rocl.losses.distillation import anneal, annealed_scale, distil, jafari, match_logits, soften
from rocl.losses.language import approach, masked_language
from rocl.losses.tasks import pcgrad, summed, uncertain
