"""English first, beside translations that find each other: a text and its translation get vectors alike.

While the English twin is learned with its labels, each English sentence of a batch of translations must find the
Romanian one among all of the batch, and the other way round (InfoNCE); or both must stay where the encoder had the
English one before (mean squared error: Reimers and Gurevych 2020, 2004.09813). Nothing but labels holds vectors apart
where each side only nears the other: they all shrink together. Then the Romanian task is learned as usual. The first
token's vectors are meant, which the heads read.
"""

from dataclasses import replace
from functools import partial

import numpy as np
from torch import nn

from experiments import encoders
from experiments.adversarial import labels, of_labelled
from experiments.bilingual import translated
from experiments.multistage import then
from experiments.scales import PARTS, setting
from experiments.single import alone
from rocl.data.batches import proportional
from rocl.data.task import Task, column
from rocl.data.text import side
from rocl.experiment import Experiment, Scale
from rocl.losses import approach, info_nce
from rocl.metrics import retrieval
from rocl.models.heads import Encoded, Model, by_text, first, first_tokens, outputs


def sides(encoded: Encoded):
    """The first token's vectors of both texts of each row, (R, 2, D)."""
    return first(by_text(encoded)).unflatten(0, (len(encoded.rows) - 1, 2))


def finding(model, encoded, batch, progress, *, weight: float = 0.2, temperature: float = 0.05):
    """With `weight` 0 translations only take places in the steps. The weights here and below make the gradient of
    translations about as long in the encoder as that of labels halfway through (measured with rocl-tiny)."""
    if batch.task in model.heads:
        return labels(model, encoded, batch)
    one, two = sides(encoded).unbind(1)
    return {"translation": weight * info_nce(one, two, temperature)}


def meeting(model, encoded, batch, progress, *, weight: float = 10.0):
    if batch.task in model.heads:
        return labels(model, encoded, batch)
    return {"translation": weight * approach(sides(encoded), batch.columns["target"])}


def judge(model, table) -> dict[str, float]:
    """How often a text finds the other one of its row: a sentence its translation."""
    vectors = outputs(model, table, lambda encoded: sides(encoded).flatten(1))  # (N, 2 D)
    return retrieval(*np.split(vectors, 2, axis=1))


def paired(scale: Scale, part: str, name: str, objective, **changes) -> Experiment:
    twin, task = setting(scale).english[part], setting(scale).romanian[part]
    base = alone(scale, twin)
    values = dict(
        name=f"{twin.name}-{name}",
        tasks=[twin, *bare(scale)],
        model=partial(of_labelled, start=base.model),
        objective=objective,
        judge=judge,
        together=first_tokens,
        sampling=partial(proportional, exponent=1.0),
    )
    return then(scale, task, replace(base, **values | changes))


def bare(scale: Scale) -> list[Task]:
    return [replace(pairs, metric=None) for pairs in translated(scale)]


class First(nn.Module):
    """What an encoder says of a text, as a head: its first token's vector (R, D)."""

    def forward(self, encoded: Encoded):
        return first(encoded)


def as_it_was(tasks, done, *, start) -> Model:
    return Model(start(done), {"first": First()})


def placed(done, *, twin: Task, translations: list[Task]) -> list[Task]:
    """Beside the twin, translations with the vectors that their English side had before."""
    places = [done["target"].predict(side(pairs, 0), "train", "first") for pairs in translations]  # (N, D) each
    return [twin, *(column(pairs, target=place) for pairs, place in zip(translations, places, strict=True))]


def found(scale: Scale, part: str) -> Experiment:
    return paired(scale, part, "finding", finding)


def met(scale: Scale, part: str) -> Experiment:
    start, needs = encoders.beginning(scale)
    target = Experiment(
        name="start",
        needs=needs,
        tasks=translated(scale),
        model=partial(as_it_was, start=start),
        objective=finding,
        judge=judge,
        steps=0,
        seed=1,  # nothing is drawn
    )
    tasks = partial(placed, twin=setting(scale).english[part], translations=bare(scale))
    needs = {**alone(scale, setting(scale).english[part]).needs, "target": target}
    return paired(scale, part, "meeting", meeting, tasks=tasks, needs=needs)


def unused(scale: Scale, part: str) -> Experiment:
    return paired(scale, part, "pairs-unused", partial(finding, weight=0.0))


METHODS = [found, met, unused]


def experiment(scale: Scale) -> Experiment:
    systems = [method(scale, part) for method in METHODS for part in PARTS]
    return Experiment(name="pairs", needs={system.name: system for system in systems})
