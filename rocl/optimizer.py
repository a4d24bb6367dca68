"""AdamW with rates by depth and decay on matrices only; learning-rate schedules as functions of progress in [0, 1]."""

import torch
from torch import nn


def warmup_linear(progress: float, warmup: float) -> float:
    """Share of the peak rate: up in a line until `warmup`, a share of the run, then down in a line to 0 at its end."""
    if progress < warmup:
        return progress / warmup
    return (1 - progress) / (1 - warmup) if progress < 1 else 0.0


def warmup_linear_bert(progress: float, warmup: float) -> float:
    """The schedule of Google's BERT and of BAM: its decay counts from step 0, so 1 - warmup is the most it reaches."""
    if progress < warmup:
        return progress / warmup
    return max(0.0, 1 - progress)


def depth(name: str, layers: int) -> int:
    """How deep a parameter of a `Model` stands, as BAM counts: embeddings 0, layer i at i + 1, pooler, heads on top.

    A head's `dense` stands at the pooler's depth, layers + 1: it does the pooler's work between encoder and output, and
    in BERT it starts from the pooler's weights. Place decides, not origin, so it does so for every family.
    """
    match name.split("."):
        case ["encoder", "embeddings", *_]:
            return 0
        case ["encoder", "layers", number, *_]:
            return int(number) + 1
        case ["encoder", "pooler", *_] | ["heads", _, "dense", *_]:
            return layers + 1
        case ["heads", *_]:
            return layers + 2
    raise ValueError(f"parameter {name}: it is neither of encoder.embeddings, .layers, .pooler nor of heads")


def groups(model: nn.Module, learning_rate: float, *, decay: float = 1.0, weight_decay: float = 0.01) -> list[dict]:
    """AdamW's parameter groups, deepest (slowest) first; every parameter that is trained stands in exactly one.

    The peak rate at depth d is learning_rate * decay ** (top - d) (Clark et al. 2019, 1907.04829: 0.9; 1.0 is off).
    Each group keeps it as "rate", so that a step's "lr" is rate * schedule(progress). Weight decay falls on matrices,
    embeddings among them, never on biases and LayerNorm.
    """
    layers = len(model.encoder.layers)
    members: dict[tuple[float, float], list[nn.Parameter]] = {}  # parameters by rate and weight decay
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    for name, parameter in trained:
        rate = learning_rate * decay ** (layers + 2 - depth(name, layers))
        members.setdefault((rate, weight_decay if parameter.ndim >= 2 else 0.0), []).append(parameter)
    assert sum(map(len, members.values())) == len(trained)
    return [
        {"params": members[rate, shrink], "rate": rate, "lr": rate, "weight_decay": shrink}
        for rate, shrink in sorted(members)
    ]


def adamw(groups: list[dict], *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> torch.optim.AdamW:
    """Fused AdamW over `groups`. BERT and BAM take eps 1e-6 (and no bias correction, which AdamW always has)."""
    return torch.optim.AdamW(groups, betas=betas, eps=eps, fused=True)
