"""What a corpus of your own is worth by itself, after a twin in another language, and distilled from that.

Three systems on one task: fine-tuned alone; fine-tuned on the twin first (multi-stage); and a student of the latter
that starts from the pretrained encoder (without a twin a born-again network, Furlanello et al. 2018, 1805.04770).
"""

from dataclasses import replace
from functools import partial

from experiments.mtkd import objective, taught
from experiments.multistage import then
from experiments.scales import setting
from experiments.single import alone, carried_on, of_sentences, pretrained
from rocl.data.corpus import Corpus
from rocl.data.task import Task, column, extra, folded
from rocl.errors import UserError
from rocl.experiment import Experiment, Scale
from rocl.models.checkpoints import Checkpoint


def compared(
    scale: Scale,
    corpus: Corpus,
    twin: Corpus | None,
    *,
    max_length: int,
    epochs: float,
    encoder: Checkpoint | Experiment | None = None,
    drop_leaks: bool = False,
) -> Experiment:
    """The study of a corpus and perhaps its twin, from `encoder` (a checkpoint, or an experiment that makes one) or,
    without one, from the scale's."""
    options = {"max_length": max_length, "drop_leaks": drop_leaks}
    task = weighted(Task(name="yours", corpus=corpus, **options))
    if isinstance(encoder, str):
        raise UserError(f"encoder={encoder!r}: write Checkpoint({encoder!r}), from rocl.models.checkpoints")
    values = {"epochs": epochs}
    if isinstance(encoder, Experiment):
        values |= {"model": carried_on, "needs": {"before": encoder}}
    else:
        start = of_sentences if setting(scale).grow and not encoder else pretrained
        values["model"] = partial(start, checkpoint=encoder or setting(scale).encoder)
    single = teacher = alone(scale, task, name="alone", **values)
    systems = [single]
    if twin:
        other = weighted(Task(name="twin", corpus=twin, **options))
        held_out = {folded(row) for split in ("dev", "test") for row in task.rows(split)}
        if seen := sum(folded(row) in held_out for row in other.rows("train")):
            fix = "take them out, or draw its splits as those of the corpus are (`twin=`)"
            raise UserError(f"{twin.name}: {seen} training texts stand in dev or test of {corpus.name}: {fix}")
        teacher = then(scale, task, alone(scale, other, **values), name="after-the-twin", epochs=epochs)
        systems.append(teacher)
    tasks = partial(taught, tasks=[task], teachers={task.name: ["teacher"]})
    needs = single.needs | {"teacher": teacher}
    systems.append(replace(single, name="student", needs=needs, tasks=tasks, objective=objective))
    return Experiment(name="own", needs={system.name: system for system in systems})


def weighted(task: Task) -> Task:
    """The task with the weights of its training rows, where the corpus gives any."""
    given = any("weight" in row.extra for row in task.rows("train"))
    return column(task, weight=extra(task, "weight")) if given else task
