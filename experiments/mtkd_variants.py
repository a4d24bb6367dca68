"""MTKD with other teachers: an ensemble of specialists, and specialists that never saw the row they label.

The mean of several seeds is what Clark et al. 2019 (1907.04829) found to teach better than one; a specialist labels its
own training rows with a confidence that it does not have on new ones, which out-of-fold teachers avoid.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from experiments import mtkd
from experiments.multistage import chain
from experiments.scales import PARTS, setting
from rocl.data.task import Task, column, fold
from rocl.experiment import Experiment, Scale

SEEDS, FOLDS = (1, 2, 3), 5


def held_out(done, task: Task, teachers: list[str]) -> np.ndarray:
    """Logits (rows, C) of the training rows: of the i-th fold by the i-th teacher, which was trained without it."""
    place = {row.id: number for number, row in enumerate(task.rows("train"))}
    logits = np.full((len(place), len(task.labels)), np.nan, np.float32)
    for i, teacher in enumerate(teachers):
        part = fold(task, i, len(teachers), held_out=True)
        logits[[place[row.id] for row in part.rows("train")]] = done[teacher].logits(part)
    return logits


def taught_out_of_fold(done, *, tasks: list[Task], teachers: dict[str, list[str]]) -> list[Task]:
    return [column(task, soft=held_out(done, task, teachers[task.name])) for task in tasks]


def ensemble(scale: Scale) -> Experiment:
    student, tasks = mtkd.experiment(scale), setting(scale).romanian
    teachers = {part: [f"{part}-{seed}" for seed in SEEDS] for part in PARTS}
    return replace(
        student,
        name="mtkd-ensemble",
        needs=start(student)
        | {f"{part}-{seed}": replace(student.needs[part], seed=seed) for part in PARTS for seed in SEEDS},
        tasks=partial(mtkd.taught, tasks=list(tasks.values()), teachers=teachers),
    )


def start(student: Experiment) -> dict[str, Experiment]:
    """What it needs beside its teachers: at some scales an encoder."""
    return {name: need for name, need in student.needs.items() if name not in PARTS}


def out_of_fold(scale: Scale) -> Experiment:
    student, english, tasks = mtkd.experiment(scale), setting(scale).english, setting(scale).romanian
    teachers = {part: [f"{part}-without-{i}" for i in range(FOLDS)] for part in PARTS}
    needs = {
        name: replace(chain(scale, english[part], fold(tasks[part], i, FOLDS)), name=name)
        for part in PARTS
        for i, name in enumerate(teachers[part])
    }
    taught = partial(taught_out_of_fold, tasks=list(tasks.values()), teachers=teachers)
    return replace(student, name="mtkd-out-of-fold", needs=start(student) | needs, tasks=taught)


def experiment(scale: Scale) -> Experiment:
    variants = [mtkd.experiment(scale), ensemble(scale), out_of_fold(scale)]
    return Experiment(name="mtkd-variants", needs={variant.name: variant for variant in variants})
