"""English first, in an encoder that hides the language from a head (DANN, Ganin et al. 2016, 1505.07818).

The English twin is learned with its labels; beside it stand the Romanian training texts without theirs. A head learns
to tell the languages apart and its gradient is reversed before the encoder. Then the Romanian task is learned as usual.
The head takes five steps of its own before each of the encoder's: one as slow as the encoder is fooled while others
could still tell the languages. With `reversal` below 0 the head is a help instead of an opponent: the encoder learns to
tell the languages apart. A critic (ADAN, Chen et al. 2018, 1606.01614) does not guess the language but measures how far
the two are apart; its slope is bounded by clipping its weights, or by a penalty. All take as many texts of either
language, and beside them stands the same stage in which nothing is asked of the Romanian texts.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from experiments.multistage import then
from experiments.scales import PARTS, setting
from experiments.single import alone, cross_entropy
from rocl.data.batches import proportional
from rocl.data.mixing import unlabelled
from rocl.data.task import Task, column
from rocl.experiment import Experiment, Inner, Scale
from rocl.losses import classify, clip, ramp, reverse, slope_penalty, wasserstein
from rocl.models.heads import Model, first, mlp

REVERSAL = 0.1  # at the end, chosen on dev (LOG.md, 2026-11-22): with more, English is learned less well


def by_language(done, *, tasks: list[Task]) -> list[Task]:
    """The tasks with the language of each row as a column (rows, languages), 0 and 1."""
    languages = sorted({task.language for task in tasks})
    each = np.eye(len(languages), dtype=np.float32)
    return [column(task, language=each[[languages.index(task.language)] * len(task.rows("train"))]) for task in tasks]


def of_labelled(tasks, done, *, start) -> Model:
    """The model of those tasks that have labels."""
    return start([task for task in tasks if task.labels], done)


def with_language(tasks, done, *, start) -> Model:
    """The model of the labelled tasks, and a head that says which language a text is in."""
    model = of_labelled(tasks, done, start=start)
    languages = tasks[0].columns["language"].shape[1]
    return Model(model.encoder, {**model.heads, "language": mlp(model.encoder, languages, pool=first)})


def with_critic(tasks, done, *, start) -> Model:
    model = of_labelled(tasks, done, start=start)
    return Model(model.encoder, {**model.heads, "critic": mlp(model.encoder, 1, pool=first)})


def labels(model, encoded, batch) -> dict:
    if batch.task not in model.heads:
        return {}
    return {"cross_entropy": cross_entropy(model.heads[batch.task](encoded), batch)}


def misled(model, encoded, batch, progress, *, weight: float = 1.0, reversal: float = REVERSAL):
    """With `weight` 0 Romanian texts only take places in the steps."""
    turned = encoded._replace(tokens=reverse(encoded.tokens, reversal * ramp(progress)))
    said = model.heads["language"](turned)  # (R, languages)
    language = classify(said, batch.columns["language"], kind="one")
    return labels(model, encoded, batch) | {"language": weight * language}


def guessed(model, pieces, progress):
    """What the head minimises: its cross-entropy over the rows whose language is asked for."""
    asked = [(batch.columns["language"], encoded) for batch, encoded in pieces if "language" in batch.columns]
    if not asked:
        return None
    said = torch.cat([model.heads["language"](encoded) for _, encoded in asked])  # (R, languages)
    return classify(said, torch.cat([language for language, _ in asked]), kind="one").mean()


def near(model, encoded, batch, progress, *, weight: float = 0.01):
    """What the critic says of a row, with the sign of its language: over as many rows of either, half the distance."""
    inside = batch.columns["language"][:, 0]  # (R,)
    said = model.heads["critic"](encoded).squeeze(1)  # (R,)
    return labels(model, encoded, batch) | {"distance": weight * said * (2 * inside - 1)}


def farther(model, pieces, progress):
    """What the critic minimises: the distance that it finds between the languages, turned round."""
    said = torch.cat([model.heads["critic"](encoded).squeeze(1) for _, encoded in pieces])
    return -wasserstein(said, torch.cat([batch.columns["language"][:, 0] for batch, _ in pieces]))


def farther_within_slope(model, pieces, progress, *, weight: float = 10.0):
    """The same, with a penalty on slopes other than 1 between vectors of the two languages, drawn in pairs."""
    critic = model.heads["critic"]
    vectors = torch.cat([critic.pool(encoded) for _, encoded in pieces])  # (R, D)
    inside = torch.cat([batch.columns["language"][:, 0] for batch, _ in pieces]) > 0  # (R,)
    one, other = vectors[inside], vectors[~inside]
    pairs = min(len(one), len(other))
    share = torch.rand(pairs, 1, device=vectors.device)
    penalty = slope_penalty(critic.on, one[:pairs], other[:pairs], share) if pairs else 0.0
    return farther(model, pieces, progress) + weight * penalty


def five(progress: float) -> int:
    return 5


def english(scale: Scale, part: str, name: str, **changes) -> Experiment:
    """The English twin with its labels beside the Romanian texts without theirs, as many of either."""
    twin, task = setting(scale).english[part], setting(scale).romanian[part]
    base = alone(scale, twin)
    values = dict(
        name=name,
        tasks=partial(by_language, tasks=[twin, unlabelled(task, f"{part}-text")]),
        model=partial(with_language, start=base.model),
        objective=partial(misled, reversal=REVERSAL),
        sampling=partial(proportional, exponent=0.0),
        inner=Inner(heads=["language"], loss=guessed, steps=five, learning_rate=1e-3),
    )
    return replace(base, **values | changes)


def adversarial(scale: Scale, part: str) -> Experiment:
    return then(scale, setting(scale).romanian[part], english(scale, part, f"{part}-en-adversarial"))


def critic(scale: Scale, part: str, name: str = "critic", **changes) -> Experiment:
    model = partial(with_critic, start=alone(scale, setting(scale).english[part]).model)
    values = {"loss": farther, "steps": five, "learning_rate": 5e-4, "after": clip}
    inner = Inner(heads=["critic"], **values | changes)
    before = english(scale, part, f"{part}-en-{name}", model=model, objective=near, inner=inner)
    return then(scale, setting(scale).romanian[part], before)


def penalised(scale: Scale, part: str) -> Experiment:
    return critic(scale, part, "critic-with-penalty", loss=farther_within_slope, after=None)


def cooperative(scale: Scale, part: str) -> Experiment:
    before = english(scale, part, f"{part}-en-cooperative", objective=partial(misled, reversal=-REVERSAL))
    return then(scale, setting(scale).romanian[part], before)


def beside(scale: Scale, part: str) -> Experiment:
    """What all of these are to be compared with: Romanian texts take the same places and change nothing."""
    before = english(scale, part, f"{part}-en-beside", objective=partial(misled, weight=0.0), inner=None)
    return then(scale, setting(scale).romanian[part], before)


METHODS = (beside, adversarial, critic, penalised, cooperative)


def experiment(scale: Scale) -> Experiment:
    systems = [method(scale, part) for method in METHODS for part in PARTS]
    return Experiment(name="adversarial", needs={system.name: system for system in systems})
