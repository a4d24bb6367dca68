"""R-Drop: two passes over each text, each with its own dropout, should agree (Liang et al. 2021, 2106.14448)."""

from dataclasses import replace

from experiments.multistage import chain
from experiments.scales import PARTS, setting
from experiments.single import cross_entropy
from rocl.data.batches import twice
from rocl.experiment import Experiment, Scale
from rocl.losses import disagreement
from rocl.models.heads import by_text


def doubled(model, batch, draw):
    return twice(batch)


def objective(model, encoded, batch, progress, *, weight: float = 1.0):
    """Mean cross-entropy of both passes, and `weight` times half of their symmetric divergence, a row."""
    one, two = model.heads[batch.task](by_text(encoded)).unflatten(0, (-1, 2)).unbind(1)  # (R, C) each
    return {
        "cross_entropy": (cross_entropy(one, batch) + cross_entropy(two, batch)) / 2,
        "disagreement": weight * disagreement(one, two, kind=batch.kind),
    }


def consistent(scale: Scale, part: str) -> Experiment:
    """After the English twin, Romanian in two passes."""
    multistage = chain(scale, setting(scale).english[part], setting(scale).romanian[part])
    budget = multistage.token_budget // 2  # texts are counted before they are doubled
    return replace(multistage, name=f"{part}-r-drop", objective=objective, alter=doubled, token_budget=budget)


def experiment(scale: Scale) -> Experiment:
    systems = [consistent(scale, part) for part in PARTS]
    return Experiment(name="consistency", needs={system.name: system for system in systems})
