"""Every task by itself: each Romanian task and each English twin, fine-tuned from the pretrained encoder."""

from functools import partial

from experiments.bilingual import bilingual, sized
from experiments.scales import PARTS, setting
from rocl.data.task import Task
from rocl.experiment import Experiment, Scale
from rocl.losses import classify
from rocl.models.checkpoints import Checkpoint
from rocl.models.encoder import Encoder
from rocl.models.heads import Model, classification_head


def classifiers(encoder: Encoder, tasks: list[Task]) -> Model:
    """The encoder with a new classification head for each task."""
    return Model(encoder, {task.name: classification_head(encoder, len(task.labels)) for task in tasks})


def pretrained(tasks, done, *, checkpoint: Checkpoint) -> Model:
    return classifiers(checkpoint.encoder(), tasks)


def of_sentences(tasks, done, *, checkpoint: Checkpoint) -> Model:
    """The same for an encoder of sentences, whose vectors are too short."""
    return classifiers(sized(checkpoint.encoder(), tasks), tasks)


def carried_on(tasks, done) -> Model:
    return classifiers(done["before"].encoder(), tasks)


def cross_entropy(logits, batch, target=None):
    """Of a row (R,), against its gold labels or another target (R, C); where a task has a column `known`
    (`rocl.data.mixing.shared`), a row is asked for the labels that it can have alone; a column `weight` multiplies."""
    target = batch.columns["labels"] if target is None else target
    loss = classify(logits, target, kind=batch.kind, known=batch.columns.get("known"))
    return loss * batch.columns["weight"] if "weight" in batch.columns else loss


def objective(model, encoded, batch, progress):
    return {"cross_entropy": cross_entropy(model.heads[batch.task](encoded), batch)}


def alone(scale: Scale, task: Task, **changes) -> Experiment:
    """One task from the encoder of the scale, or from the bilingual one that is first made of it."""
    choice = setting(scale)
    values: dict[str, object] = {"model": partial(pretrained, checkpoint=choice.encoder)}
    if choice.grow and "model" not in changes:
        values = {"model": carried_on, "needs": {"before": bilingual(scale)}}
    values |= dict(
        name=task.name,
        tasks=[task],
        objective=objective,
        epochs=choice.epochs.get(task.name, choice.epochs["english"]),
        batch=choice.batch,
        learning_rate=choice.learning_rate,
        layer_decay=choice.layer_decay,
        evaluations=choice.evaluations,
    )
    return Experiment(**values | changes)


def experiment(scale: Scale) -> Experiment:
    choice = setting(scale)
    every = [choice.romanian[part] for part in PARTS] + [choice.english[part] for part in PARTS]
    return Experiment(name="single", needs={task.name: alone(scale, task) for task in every})
