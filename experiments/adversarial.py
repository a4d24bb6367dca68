"""English first, in an encoder from which a head cannot read the language (DANN, Ganin et al. 2016, 1505.07818).

The English twin is learned with its labels; beside it stand the Romanian training texts without theirs. A head learns
to tell the languages apart and its gradient is reversed before the encoder. Then the Romanian task is learned as usual.
With `reversal` -1 the head is a help instead of an opponent: the encoder learns to tell the languages apart. A critic
(ADAN, Chen et al. 2018, 1606.01614) does not guess the language but measures how far the two are apart.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from experiments.multistage import then
from experiments.scales import PARTS, setting
from experiments.single import alone
from rocl.data.batches import proportional
from rocl.data.mixing import unlabelled
from rocl.data.task import Task, column
from rocl.experiment import Experiment, Inner, Scale
from rocl.losses import classify, clip, ramp, reverse, wasserstein
from rocl.models.heads import Model, first, mlp


def by_language(done, *, tasks: list[Task]) -> list[Task]:
    """The tasks with the language of each row as a column (rows, languages), 0 and 1."""
    languages = sorted({task.language for task in tasks})
    each = np.eye(len(languages), dtype=np.float32)
    return [column(task, language=each[[languages.index(task.language)] * len(task.rows("train"))]) for task in tasks]


def with_language(tasks, done, *, start) -> Model:
    """The model of the labelled tasks, and a head that says which language a text is in."""
    model = start([task for task in tasks if task.labels], done)
    languages = tasks[0].columns["language"].shape[1]
    return Model(model.encoder, {**model.heads, "language": mlp(model.encoder, languages, pool=first)})


def with_critic(tasks, done, *, start) -> Model:
    model = start([task for task in tasks if task.labels], done)
    return Model(model.encoder, {**model.heads, "critic": mlp(model.encoder, 1, pool=first)})


def labels(model, encoded, batch) -> dict:
    if batch.task not in model.heads:
        return {}
    logits = model.heads[batch.task](encoded)  # (R, C)
    return {"cross_entropy": classify(logits, batch.columns["labels"], kind=batch.kind)}


def misled(model, encoded, batch, progress, *, weight: float = 1.0, reversal: float = 1.0):
    """With `weight` 0 Romanian texts only take places in the steps; with `reversal` 0 the head learns, the encoder
    does not care."""
    turned = encoded._replace(tokens=reverse(encoded.tokens, reversal * ramp(progress)))
    said = model.heads["language"](turned)  # (R, languages)
    language = classify(said, batch.columns["language"], kind="one")
    return labels(model, encoded, batch) | {"language": weight * language}


def near(model, encoded, batch, progress, *, weight: float = 0.01):
    """What the critic says of a row, with the sign of its language: with as many rows of either, half the distance."""
    inside = batch.columns["language"][:, 0]  # (R,)
    said = model.heads["critic"](encoded).squeeze(1)  # (R,)
    return labels(model, encoded, batch) | {"distance": weight * said * (2 * inside - 1)}


def farther(model, pieces, progress):
    """What the critic minimises: the distance that it finds between the languages, turned round."""
    said = torch.cat([model.heads["critic"](encoded).squeeze(1) for _, encoded in pieces])
    return -wasserstein(said, torch.cat([batch.columns["language"][:, 0] for batch, _ in pieces]))


def five(progress: float) -> int:
    return 5


def english(scale: Scale, part: str, name: str, **changes) -> Experiment:
    """The English twin with its labels beside the Romanian texts without theirs."""
    twin, task = setting(scale).english[part], setting(scale).romanian[part]
    base = alone(scale, twin)
    values = dict(
        name=name,
        tasks=partial(by_language, tasks=[twin, unlabelled(task, f"{part}-text")]),
        model=partial(with_language, start=base.model),
        objective=misled,
        sampling=partial(proportional, exponent=1.0),
    )
    return replace(base, **values | changes)


def adversarial(scale: Scale, part: str) -> Experiment:
    return then(scale, setting(scale).romanian[part], english(scale, part, f"{part}-en-adversarial"))


def critic(scale: Scale, part: str) -> Experiment:
    base = alone(scale, setting(scale).english[part])
    before = english(
        scale,
        part,
        f"{part}-en-critic",
        model=partial(with_critic, start=base.model),
        objective=near,
        sampling=partial(proportional, exponent=0.0),  # as many of one language as of the other
        inner=Inner(heads=["critic"], loss=farther, steps=five, learning_rate=5e-4, after=clip),
    )
    return then(scale, setting(scale).romanian[part], before)


def cooperative(scale: Scale, part: str) -> Experiment:
    before = english(scale, part, f"{part}-en-cooperative", objective=partial(misled, reversal=-1.0))
    return then(scale, setting(scale).romanian[part], before)


def experiment(scale: Scale) -> Experiment:
    systems = [method(scale, part) for method in (adversarial, critic, cooperative) for part in PARTS]
    return Experiment(name="adversarial", needs={system.name: system for system in systems})
