"""From logits to probabilities to predicted labels. N rows, C labels; everything is numpy."""

import numpy as np
import torch

from rocl.losses import soften


def probabilities(logits: np.ndarray, kind: str) -> np.ndarray:
    """Probabilities (N, C) float64 of logits: a softmax for kind "one", sigmoids for kind "many"."""
    return soften(torch.as_tensor(np.asarray(logits, np.float64)), kind=kind).numpy()


def decide(probabilities: np.ndarray, kind: str, thresholds: np.ndarray | float | None = None) -> np.ndarray:
    """Predictions as 0/1, (N, C) uint8: the most probable label (the first of equals), or all at or above a threshold.

    Thresholds are for kind "many": one for all labels or one each, 0.5 if not given. A row where no label reaches its
    threshold stays empty, which is a prediction like any other.
    """
    if kind == "many":
        return (probabilities >= (0.5 if thresholds is None else thresholds)).astype(np.uint8)
    if thresholds is not None:
        raise ValueError('thresholds decide for labels of kind "many"; of kind "one" the most probable label is taken')
    return np.eye(probabilities.shape[1], dtype=np.uint8)[probabilities.argmax(1)]
