"""MTKD in miniature, for the tests that stop and start whole graphs: a twin, two specialists, a student."""

import os
from functools import partial
from pathlib import Path

import tiny

from rocl.data.task import Task, column
from rocl.experiment import Experiment, Scale
from rocl.losses import anneal, classify, soften
from rocl.models.heads import Model, classification_head


def heads(encoder, tasks) -> Model:
    return Model(encoder, {task.name: classification_head(encoder, len(task.labels)) for task in tasks})


def fresh(tasks, done, *, checkpoint) -> Model:
    return heads(checkpoint.fresh(), tasks)


def carried_on(tasks, done) -> Model:
    return heads(done["twin"].encoder(), tasks)


def gold(model, encoded, batch, progress):
    logits = model.heads[batch.task](encoded)  # (R, C)
    return {"cross_entropy": classify(logits, batch.columns["labels"], kind=batch.kind)}


def taught(done, *, tasks: list[Task]) -> list[Task]:
    return [column(task, soft=done[task.name].logits(task)) for task in tasks]


def annealed(model, encoded, batch, progress):
    target = anneal(batch.columns["labels"], soften(batch.columns["soft"], kind=batch.kind), progress)
    return {
        "cross_entropy": classify(model.heads[batch.task](encoded), target, kind=batch.kind),
        "gold_weight": progress,
    }


def experiment(scale: Scale) -> Experiment:
    """Its encoder's folder is told by the environment, as tests run it in a folder of their own."""
    start = partial(fresh, checkpoint=tiny.checkpoint(Path(os.environ["TINY_ENCODER"])))
    one, many = tiny.task("one"), tiny.task("many", kind="many", size=40)
    values = dict(steps=10, batch=16, learning_rate=1e-3, evaluations=2)
    twin = Experiment(name="twin", tasks=[tiny.task("english")], model=start, objective=gold, **values)
    specialists = {
        task.name: Experiment(
            name=task.name, needs={"twin": twin}, tasks=[task], model=carried_on, objective=gold, **values
        )
        for task in (one, many)
    }
    student = partial(taught, tasks=[one, many])
    return Experiment(name="student", needs=specialists, tasks=student, model=start, objective=annealed, **values)
