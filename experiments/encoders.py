"""Encoders side by side, fine-tuned on each Romanian task: new weights, the encoder of the scale, the bilingual one."""

from dataclasses import replace
from functools import partial

from experiments import bilingual
from experiments.multistage import carried_on
from experiments.scales import setting
from experiments.single import alone, untrained
from rocl.data.corpora import laroseda
from rocl.data.task import Task
from rocl.experiment import Experiment, Scale


def judged(scale: Scale) -> list[Task]:
    """The tasks of the scale; reviews without their titles, which give the verdict away."""
    tasks = list(setting(scale).romanian.values())
    if scale is Scale.SAMPLE:
        return tasks
    bare = replace(tasks[1], name="reviews", corpus=laroseda.laroseda(title=False))
    return [tasks[0], bare, tasks[2]]


def experiment(scale: Scale) -> Experiment:
    grown, needs = bilingual.experiment(scale), {}
    for task in judged(scale):
        blank = partial(untrained, checkpoint=setting(scale).encoder)
        rows = [
            alone(scale, task, name=f"{task.name}-from-nothing", model=blank),
            alone(scale, task, name=f"{task.name}-from-old"),
            alone(scale, task, name=f"{task.name}-from-bilingual", model=carried_on, needs={"before": grown}),
        ]
        needs |= {row.name: row for row in rows}
    return Experiment(name="encoders", needs=needs)
