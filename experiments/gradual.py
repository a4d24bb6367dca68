"""Gradual fine-tuning: less English beside Romanian in every stage, none in the last (Xu et al. 2021, 2103.02205).

Each stage goes on with the whole model of the one before, heads too, and passes over all Romanian rows at least once.
English does not choose the weights.
"""

from dataclasses import replace
from functools import partial

from experiments.scales import PARTS, setting
from experiments.single import alone
from rocl.data.batches import proportional
from rocl.data.task import sample
from rocl.experiment import Experiment, Scale
from rocl.models.heads import Model

SHARES = (1.0, 0.5, 0.125, 0.0)  # of the English rows, a stage; the paper's halves and eighths (4,000, 2,000, 500, 0)


def going_on(tasks, done) -> Model:
    """The model of the stage before, with the heads that this one learns."""
    before = done["before"].model()
    return Model(before.encoder, {task.name: before.heads[task.name] for task in tasks})


def gradual(scale: Scale, part: str) -> Experiment:
    task, twin = setting(scale).romanian[part], setting(scale).english[part]
    stage = None
    for number, share in enumerate(SHARES, 1):
        english = [replace(sample(twin, share), metric=None)] if share else []
        values = {"model": going_on, "needs": {"before": stage}} if stage else {}
        stage = alone(
            scale,
            task,
            name=f"{part}-gradual-{number}",
            tasks=[task, *english],
            epochs=max(1.0, setting(scale).epochs[part] / len(SHARES)),
            sampling=partial(proportional, exponent=1.0),
            **values,
        )
    return stage


def experiment(scale: Scale) -> Experiment:
    systems = [gradual(scale, part) for part in PARTS]
    return Experiment(name="gradual", needs={system.name: system for system in systems})
