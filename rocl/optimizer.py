"""AdamW with rates by depth and decay on matrices only; learning-rate schedules as functions of progress in [0, 1]."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rocl.models.words import Words


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


class LazyRows(torch.optim.Optimizer):
    """AdamW on those rows of a table that have a gradient; the others keep their weights and moments, undecayed.

    This is another optimiser than AdamW, by whose moments and decay a word moves in steps without it too: it is
    SparseAdam with decoupled weight decay. Steps are counted for the whole table.
    """

    def __init__(
        self, groups: list[dict], words: Words, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__(groups, {"betas": betas, "eps": eps})
        self.words = words

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for table in [table for table in group["params"] if table.grad is not None]:
                self.move(table, self.state[table], **group)

    def move(self, table: Tensor, state: dict, *, lr, weight_decay, betas, eps, **_) -> None:
        if not state:
            state |= {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(table)}
            state["exp_avg_sq"] = torch.zeros_like(table)
        state["step"] += 1
        rows = torch.arange(len(table), device=table.device) if self.words.rows is None else self.words.rows
        rows = rows[table.grad[rows].any(1)]  # (U,)
        slope, count, (first, second) = table.grad[rows], state["step"].item(), betas
        mean = state["exp_avg"][rows].lerp_(slope, 1 - first)  # (U, E)
        square = state["exp_avg_sq"][rows].mul_(second).addcmul_(slope, slope, value=1 - second)
        size = (square / (1 - second**count)).sqrt_().add_(eps)
        moved = table[rows].mul_(1 - lr * weight_decay).addcdiv_(mean, size, value=-lr / (1 - first**count))
        for whole, part in ((table, moved), (state["exp_avg"], mean), (state["exp_avg_sq"], square)):
            whole.index_copy_(0, rows, part)


def optimizers(model: nn.Module, groups: list[dict], words: type[torch.optim.Optimizer] | None, **options) -> dict:
    """AdamW for these groups as "adamw"; with `words`, one of that kind for the table of words, as "words"."""
    table = model.encoder.embeddings.words
    if words is None or not table.weight.requires_grad:
        return {"adamw": adamw(groups, **options)}
    apart = [group for group in groups if any(each is table.weight for each in group["params"])]
    for group in apart:
        group["params"] = [each for each in group["params"] if each is not table.weight]
    own = [{**group, "params": [table.weight]} for group in apart]
    rest = [group for group in groups if group["params"]]
    return {"adamw": adamw(rest, **options), "words": words(own, table, **options)}


def clip(model: nn.Module, most: float) -> Tensor:
    """Scales the gradient of a `Model` so that its norm is at most `most`; returns the norm that it had."""
    words = model.encoder.embeddings.words
    if (rows := words.step_rows()) is None:
        return nn.utils.clip_grad_norm_(model.parameters(), most)
    parts = [p.grad for p in model.parameters() if p.grad is not None and p is not words.weight]
    parts.append(words.weight.grad[rows])  # (U, E), a copy
    norm = nn.utils.get_total_norm(parts)
    if norm > most:
        torch._foreach_mul_(parts, most / (norm + 1e-6))
        words.weight.grad.index_copy_(0, rows, parts[-1])
    return norm


def take(
    model: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer], scaler: torch.amp.GradScaler, most: float
) -> Tensor:
    """The step of every optimiser along the clipped gradient, which is gone afterwards; returns the norm that it had.

    Where that is no number none of them steps: the scaler would let those go on whose own gradient is finite."""
    for each in optimizers.values():
        scaler.unscale_(each)
    norm = clip(model, most)
    finite = math.isfinite(norm)
    for each in optimizers.values():
        if finite:
            scaler.step(each)
        each.zero_grad()
    scaler.update()
    model.encoder.embeddings.words.cleared()
    return norm
