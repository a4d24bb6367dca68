"""MTKD with other teachers, and with each of its parts switched off.

Teachers: an ensemble of specialists; specialists that never saw the row they label, for one labels its own training
rows with a confidence that it does not have on new ones; one teacher of all tasks (multi to multi); and a student of a
single task (born again, Furlanello et al. 2018, 1805.04770). Texts: the English twins' too, of which the specialists
are asked what they say on the labels that both have. Parts: teacher annealing, its place taken by a fixed share
of gold or by the annealed temperature of Jafari et al. 2021 (2104.07163); task shares; rates by depth.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from experiments import mtkd
from experiments.multistage import chain
from experiments.multitask import jointly
from experiments.scales import PARTS, meanings, setting
from experiments.single import alone
from rocl.data.batches import proportional
from rocl.data.mixing import shared
from rocl.data.task import Task, column, fold
from rocl.experiment import Experiment, Scale
from rocl.losses import jafari

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


def multi_to_multi(scale: Scale) -> Experiment:
    student, tasks = mtkd.experiment(scale), setting(scale).romanian
    taught = partial(mtkd.taught, tasks=list(tasks.values()), teachers={part: ["together"] for part in PARTS})
    needs = start(student) | {"together": jointly(scale, PARTS)}
    return replace(student, name="mtkd-multi-to-multi", needs=needs, tasks=taught)


def taught_on_both(done, *, tasks: dict[str, Task], twins: dict[str, Task]) -> list[Task]:
    both = [shared(tasks[part], twins[part], meanings(part, twins[part])) for part in PARTS]
    return mtkd.taught(done, tasks=both, teachers={part: [part] for part in PARTS})


def on_both_languages(scale: Scale) -> Experiment:
    taught = partial(taught_on_both, tasks=setting(scale).romanian, twins=setting(scale).english)
    return replace(mtkd.experiment(scale), name="mtkd-both-languages", tasks=taught)


def born_again(scale: Scale, part: str) -> Experiment:
    """One task's specialist teaches a student of the same task, which starts from the encoder."""
    task = setting(scale).romanian[part]
    teacher, student = chain(scale, setting(scale).english[part], task), alone(scale, task)
    taught = partial(mtkd.taught, tasks=[task], teachers={part: ["teacher"]})
    needs = {**student.needs, "teacher": teacher}
    return replace(student, name=f"{part}-born-again", needs=needs, tasks=taught, objective=mtkd.objective)


def unannealed(model, encoded, batch, progress, *, gold: float = 0.5):
    """The same share of gold from the first step to the last, as BAM has it without annealing."""
    return mtkd.objective(model, encoded, batch, gold)


def annealed_temperature(model, encoded, batch, progress, *, tau_max: int = 7, first_phase: float = 14 / 18):
    soft, gold = batch.columns["soft"], batch.columns["labels"]
    logits = model.heads[batch.task](encoded)  # (R, C)
    options = {"tau_max": tau_max, "first_phase": first_phase, "kind": batch.kind}
    return {"jafari": jafari(logits, soft, gold, progress, **options)}


def switched(scale: Scale) -> list[Experiment]:
    """The student with one part of it changed."""
    student = mtkd.experiment(scale)
    decay = 0.9 if student.layer_decay == 1 else 1.0  # on where the scale has it off
    return [
        replace(student, name="mtkd-unannealed", objective=unannealed),
        replace(student, name="mtkd-teachers-alone", objective=partial(unannealed, gold=0.0)),
        replace(student, name="mtkd-annealed-temperature", objective=annealed_temperature),
        replace(student, name="mtkd-shares-by-size", sampling=partial(proportional, exponent=1.0)),
        replace(student, name=f"mtkd-layer-decay-{decay}", layer_decay=decay),
    ]


def experiment(scale: Scale) -> Experiment:
    variants = [mtkd.experiment(scale), ensemble(scale), out_of_fold(scale), multi_to_multi(scale)]
    variants += [on_both_languages(scale), *switched(scale), *(born_again(scale, part) for part in PARTS)]
    return Experiment(name="mtkd-variants", needs={variant.name: variant for variant in variants})
