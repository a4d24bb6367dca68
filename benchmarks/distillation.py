"""A student's step with cached soft labels, beside the plain multi-task step and beside teachers asked in the step.

python -m benchmarks.distillation [--short]

Three tasks with the lengths of tweets, reviews and news share a student; each has a teacher of its own, which sees the
rows of its task alone, without dropout. All three ways take the same rows, in turns. Weights are random. R rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from benchmarks import made_up, measure
from experiments import mtkd, single
from rocl.data import batches
from rocl.experiment import Experiment
from rocl.models.encoder import Config
from rocl.models.heads import Model
from rocl.predict import device, precision

CLASSES = {"tweets": 7, "reviews": 2, "news": 6}
FULL = {"student": made_up.MINILM, "teacher": made_up.BASE, "rows": 2048, "batch": 32, "longest": 256, "rounds": 20}
SHORT = {
    "student": made_up.encoder_size(384, 2, 12, 8000),
    "teacher": made_up.encoder_size(768, 4, 12, 8000),
    "rows": 256,
    "batch": 16,
    "longest": 64,
    "rounds": 5,
}


def asked(model, encoded, batch, progress, *, teachers: Mapping[str, Model]):
    """The objective of MTKD with the soft labels made now, in the step."""
    teacher = teachers[batch.task]
    with torch.no_grad():
        soft = teacher.heads[batch.task](teacher.encode(batch))  # (R, C)
    return mtkd.objective(model, encoded, replace(batch, columns={**batch.columns, "soft": soft}), progress)


def ways(student: Config, teacher: Config, rows: int, batch: int, longest: int) -> dict[str, Callable[[], int]]:
    """A step of each way, every call on the next rows of one order."""
    lengths = {name: made_up.lengths(name, rows, longest) for name in CLASSES}
    plain = [made_up.table(name, made_up.packed(lengths[name], student.vocabulary), CLASSES[name]) for name in CLASSES]
    draw = np.random.default_rng(0)
    soft = [draw.standard_normal(table.columns["labels"].shape, np.float32) for table in plain]
    cached = [replace(table, columns={**table.columns, "soft": s}) for table, s in zip(plain, soft, strict=True)]
    teachers = {table.task.name: made_up.model(teacher, [table]).eval() for table in plain}
    objectives = {
        "plain": (single.objective, plain),
        "cached": (mtkd.objective, cached),
        "online": (partial(asked, teachers=teachers), plain),
    }
    step = made_up.learner(student, plain)

    def way(name: str) -> Callable[[], int]:
        objective, tables = objectives[name]
        experiment = Experiment(name=name, tasks=[t.task for t in tables], model=Model, objective=objective, steps=1)
        sizes = [len(table) for table in tables]
        order = batches.steps(sizes, seed=0, batch=batch, steps=10_000, sampling=batches.proportional)
        return lambda: step(experiment, tables, next(order))

    return {name: way(name) for name in objectives}


def run(*, student: Config, teacher: Config, rows: int, batch: int, longest: int, rounds: int) -> None:
    seconds = measure.timed(ways(student, teacher, rows, batch, longest), rounds)
    results = [
        {"step": name, **measure.told(values)}
        | measure.ratio(values, seconds["plain"], "over_plain")
        | measure.ratio(values, seconds["cached"], "over_cached")
        for name, values in seconds.items()
    ]
    sizes = {name: f"{c.layers} layers of {c.width}" for name, c in (("student", student), ("teacher", teacher))}
    steps = {"batch": batch, "longest": longest, "rounds": len(seconds["plain"])}
    measure.tell("distillation", results, **sizes, **steps, precision=str(precision(device(), student.width))[6:])


def main(short: bool) -> None:
    run(**(SHORT if short else FULL))


if __name__ == "__main__":
    main(measure.short(__doc__))
