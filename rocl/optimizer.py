"""AdamW with rates by depth and decay on matrices only; learning-rate schedules as functions of progress in [0, 1]."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rocl.models.words import Words

Optimizers = Mapping[str, torch.optim.Optimizer]  # by name


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

    It divides the gradient by `grad_scale` and does nothing if `found_inf` is 1, as a fused optimiser of torch does.
    """

    grad_scale: Tensor | None = None  # ()
    found_inf: Tensor | None = None  # ()

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
            state |= {"step": torch.zeros((), device=table.device), "exp_avg": torch.zeros_like(table)}
            state["exp_avg_sq"] = torch.zeros_like(table)
        rows = slice(None) if self.words.rows is None else self.words.rows
        slope = table.grad[rows] if self.grad_scale is None else table.grad[rows] / self.grad_scale  # (U, E)
        moves = slope.any(1, keepdim=True)  # (U, 1)
        if self.found_inf is not None:
            state["step"] -= self.found_inf
            moves = moves & (self.found_inf == 0)
        state["step"] += 1
        first, second = (1 - beta ** state["step"].double() for beta in betas)
        mean = state["exp_avg"][rows].lerp(slope, 1 - betas[0])  # (U, E)
        square = state["exp_avg_sq"][rows].mul(betas[1]).addcmul_(slope, slope, value=1 - betas[1])
        size = (square / second).sqrt_().add_(eps)
        moved = table[rows] * (1 - lr * weight_decay) - mean / size * (lr / first)
        for whole, part in ((table, moved), (state["exp_avg"], mean), (state["exp_avg_sq"], square)):
            whole[rows] = torch.where(moves, part, whole[rows])


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


def norm(model: nn.Module) -> Tensor:
    """The gradient's norm over all parameters of a `Model`, (), on its device."""
    words = model.encoder.embeddings.words
    rows = words.step_rows()
    parts = [p.grad for p in model.parameters() if p.grad is not None and (rows is None or p is not words.weight)]
    return nn.utils.get_total_norm(parts if rows is None else [*parts, words.weight.grad[rows]])


def take(
    model: nn.Module, optimizers: Optimizers, scaler: torch.amp.GradScaler, most: float, loss: Tensor | float = 0.0
) -> Tensor:
    """The step of every optimiser along the gradient, clipped to the norm `most` and gone afterwards; returns the norm
    that it had, (). Where that or the loss is no number, no weight, moment or count changes.

    An optimiser that is fused divides by `grad_scale` in its one pass over memory, and looks at `found_inf` by itself:
    nothing is read back from a GPU."""
    for each in optimizers.values():
        scaler.unscale_(each)
    length = norm(model)
    scale, spoilt = (length / max(most, 1e-30)).float().clamp(min=1), (~(length + loss).isfinite()).float()
    for each in optimizers.values():
        each.grad_scale, each.found_inf = scale, spoilt
        each.step()
        each.zero_grad()
    scaler.update()
    model.encoder.embeddings.words.cleared()
    return length
