"""From logits to probabilities to predicted labels. N rows, C labels; everything is numpy."""

from collections.abc import Iterator, Sequence

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


def named(
    labels: Sequence[str], predicted: np.ndarray, probabilities: np.ndarray
) -> Iterator[tuple[list[str], dict[str, float]]]:
    """Of every row the names of its predicted labels, and its probabilities by name, as they are written to files."""
    for said, shares in zip(predicted, probabilities, strict=True):
        names = [label for label, one in zip(labels, said, strict=True) if one]
        yield names, {label: round(float(share), 6) for label, share in zip(labels, shares, strict=True)}
