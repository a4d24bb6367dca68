"""Multi-task knowledge distillation: the paper's final model.

Each Romanian task has a specialist, fine-tuned first on its English twin and then on the task. One student learns all
tasks: at first from what the specialists say of its training rows, at the end from the gold labels (teacher annealing,
BAM, Clark et al. 2019, arXiv 1907.04829). It starts from the encoder, not from a teacher.
"""

from dataclasses import replace
from functools import partial

from experiments.multistage import chain
from experiments.multitask import jointly
from experiments.scales import PARTS, setting
from experiments.single import cross_entropy
from rocl.data.task import Task, column
from rocl.experiment import Experiment, Scale
from rocl.losses import anneal, soften


def taught(done, *, tasks: list[Task], teachers: dict[str, list[str]]) -> list[Task]:
    """The tasks with the mean logits of their teachers, over the training rows, as the column "soft"."""
    return [
        column(task, soft=sum(done[t].logits(task) for t in teachers[task.name]) / len(teachers[task.name]))
        for task in tasks
    ]


def objective(model, encoded, batch, progress, *, temperature: float = 1.0):
    soft = soften(batch.columns["soft"], temperature, kind=batch.kind)  # (R, C)
    target = anneal(batch.columns["labels"], soft, progress)
    logits = model.heads[batch.task](encoded)  # (R, C)
    return {"cross_entropy": cross_entropy(logits, batch, target), "gold_weight": progress}


def experiment(scale: Scale) -> Experiment:
    choice = setting(scale)
    tasks = [choice.romanian[part] for part in PARTS]
    specialists = {part: chain(scale, choice.english[part], choice.romanian[part]) for part in PARTS}
    together = jointly(scale, PARTS)
    return replace(
        together,
        name="mtkd",
        needs={**together.needs, **specialists},
        tasks=partial(taught, tasks=tasks, teachers={part: [part] for part in PARTS}),
        objective=objective,
    )
