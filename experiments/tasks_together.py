"""Multi-task learning with more care for the tasks: learned weights, projected gradients, shares that even out.

Uncertainty weighting (Kendall et al. 2018, 1705.07115), PCGrad (Yu et al. 2020, 2001.06782), annealed sampling (PALs,
Stickland and Murray 2019, 1902.02671). The run `multitask-watched` is plain but logs how far the gradients of the tasks
agree (train/gradients in TensorBoard); `python -m rocl.train experiments/multitask.py` leaves each out in turn.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import nn

from experiments.multitask import jointly
from experiments.scales import PARTS
from experiments.single import cross_entropy
from rocl.data.batches import proportional
from rocl.experiment import Experiment, Scale
from rocl.losses import pcgrad, summed, uncertain
from rocl.models.heads import Model


class Variances(nn.Module):
    """The logarithm of each task's variance; it moves a hundred times as fast as the weights of the encoder do."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.hundredths = nn.Parameter(torch.zeros(tasks))

    def forward(self, task: int) -> torch.Tensor:
        return 100 * self.hundredths[task]


def with_variances(tasks, done, *, start) -> Model:
    model = start(tasks, done)
    return Model(model.encoder, {**model.heads, "variances": Variances(len(tasks))})


def weighted(model, encoded, batch, progress, *, names: tuple[str, ...]):
    loss = cross_entropy(model.heads[batch.task](encoded), batch)  # (R,)
    return {"weighted": uncertain(loss, model.heads["variances"](names.index(batch.task)))}


def watched(scale: Scale) -> Experiment:
    """The tasks together, with the gradients of each by itself looked at."""
    return replace(jointly(scale, PARTS), name="multitask-watched", combine=summed)


def projected(scale: Scale) -> Experiment:
    return replace(jointly(scale, PARTS), name="multitask-pcgrad", combine=pcgrad)


def uncertain_ones(scale: Scale) -> Experiment:
    plain = jointly(scale, PARTS)
    model, objective = partial(with_variances, start=plain.model), partial(weighted, names=PARTS)
    return replace(plain, name="multitask-uncertain", model=model, objective=objective)


def annealed(scale: Scale) -> Experiment:
    return replace(
        jointly(scale, PARTS), name="multitask-annealed", sampling=partial(proportional, exponent=1.0, last=0.2)
    )


def experiment(scale: Scale) -> Experiment:
    systems = [jointly(scale, PARTS), *(method(scale) for method in (watched, projected, uncertain_ones, annealed))]
    return Experiment(name="tasks-together", needs={system.name: system for system in systems})
