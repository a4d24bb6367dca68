"""Supervised contrastive learning beside cross-entropy, or before it (Gunel et al. 2021, 2011.01403).

The first token's vectors of texts with the same label are drawn together. Three forms: in the mixture of the paper,
while the Romanian task is learned; across the languages, where an English text with the same label is what a Romanian
one is drawn to; and as a stage of its own, before a head is learned.
"""

from dataclasses import replace
from functools import partial

from experiments.multistage import chain, then
from experiments.scales import PARTS, meanings, setting
from experiments.single import alone
from rocl.data.batches import proportional
from rocl.data.mixing import shared
from rocl.data.task import Task
from rocl.experiment import Experiment, Scale
from rocl.losses import classify, supervised_contrastive
from rocl.models.heads import first


def mixture(model, encoded, batch, progress, *, share: float = 0.9, temperature: float = 0.3):
    """(1 - share) cross-entropy + share contrast, the paper's best values; a mean over rows in both."""
    logits = model.heads[batch.task](encoded)  # (R, C)
    gold = batch.columns["labels"]
    return {
        "cross_entropy": (1 - share) * classify(logits, gold, kind=batch.kind),
        "contrast": share * supervised_contrastive(first(encoded), gold, temperature),
    }


def across(model, encoded, batch, progress, *, weight: float = 1.0, temperature: float = 0.3):
    """Cross-entropy of the labels that a row can have, and contrast with the rows of the other language alone."""
    logits, gold, known = model.heads[batch.task](encoded), batch.columns["labels"], batch.columns["known"]
    contrast = supervised_contrastive(first(encoded), gold, temperature, domain=batch.columns["domain"])
    return {"cross_entropy": classify(logits, gold, kind=batch.kind, known=known), "contrast": weight * contrast}


def alike(model, encoded, batch, progress, *, temperature: float = 0.3):
    return {"contrast": supervised_contrastive(first(encoded), batch.columns["labels"], temperature)}


def both_languages(done, *, task: Task, twin: Task, names: dict[str, str]) -> list[Task]:
    return [shared(task, twin, names)]


def mixed(scale: Scale, part: str) -> Experiment:
    """After the English twin, Romanian with the mixture."""
    multistage = chain(scale, setting(scale).english[part], setting(scale).romanian[part])
    return replace(multistage, name=f"{part}-contrastive", objective=mixture, together=True)


def across_languages(scale: Scale, part: str) -> Experiment:
    """One head for both languages, on the labels that they share; then Romanian."""
    task, twin = setting(scale).romanian[part], setting(scale).english[part]
    before = alone(
        scale,
        task,
        name=f"{part}-across",
        tasks=partial(both_languages, task=task, twin=twin, names=meanings(part, twin)),
        objective=across,
        together=True,
        epochs=setting(scale).epochs["english"],
        sampling=partial(proportional, exponent=1.0),
    )
    return then(scale, task, before)


def before_a_head(scale: Scale, part: str) -> Experiment:
    """Contrast alone first; nothing on dev can choose then, so that its last weights are taken."""
    task = setting(scale).romanian[part]
    before = alone(scale, task, name=f"{part}-contrast", objective=alike, together=True, evaluations=1)
    return then(scale, task, before)


def experiment(scale: Scale) -> Experiment:
    systems = [method(scale, part) for method in (mixed, across_languages, before_a_head) for part in PARTS]
    return Experiment(name="contrastive", needs={system.name: system for system in systems})
