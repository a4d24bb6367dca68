"""Supervised contrastive learning beside cross-entropy, or before it (Gunel et al. 2021, 2011.01403).

The first token's vectors of texts with the same label are drawn together. Three forms: in the mixture of the paper,
while the Romanian task is learned; across the languages, where an English text with the same label is what a Romanian
one is drawn to; and as a stage of its own, before a head is learned.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from experiments.gradual import going_on
from experiments.multistage import chain, then
from experiments.scales import PARTS, meanings, setting
from experiments.single import alone, cross_entropy
from rocl.data.batches import proportional
from rocl.data.mixing import shared
from rocl.data.task import Task
from rocl.experiment import Experiment, Scale
from rocl.losses import supervised_contrastive
from rocl.models.heads import first, first_tokens, outputs
from rocl.probes import cosine_distances


def mixture(model, encoded, batch, progress, *, share: float = 0.9, temperature: float = 0.3):
    """(1 - share) cross-entropy + share contrast, the paper's best values; a mean over rows in both."""
    logits = model.heads[batch.task](encoded)  # (R, C)
    gold = batch.columns["labels"]
    contrast = supervised_contrastive(first(encoded), gold, temperature)
    return {"cross_entropy": (1 - share) * cross_entropy(logits, batch), "contrast": share * contrast}


def across(model, encoded, batch, progress, *, weight: float = 1.0, temperature: float = 0.3):
    """Cross-entropy of the labels that a row can have; beside it the rows of the other language with the same label
    are its positives, all rows of other labels stand against them."""
    logits, gold = model.heads[batch.task](encoded), batch.columns["labels"]
    contrast = supervised_contrastive(first(encoded), gold, temperature, domain=batch.columns["domain"])
    return {"cross_entropy": cross_entropy(logits, batch), "contrast": weight * contrast}


def alike(model, encoded, batch, progress, *, temperature: float = 0.3):
    return {"contrast": supervised_contrastive(first(encoded), batch.columns["labels"], temperature)}


def apart(model, table) -> dict[str, float]:
    """How much nearer texts of one label are to each other than to the rest: a difference of mean cosines."""
    vectors, gold = outputs(model, table, first), table.columns["labels"]
    near, alike_ = 1 - cosine_distances(vectors, vectors), gold @ gold.T > 0  # (N, N) each
    others = ~np.eye(len(near), dtype=bool)
    one, two = near[alike_ & others], near[~alike_]
    return {"apart": float(one.mean() - two.mean()) if len(one) and len(two) else 0.0}


def both_languages(done, *, task: Task, twin: Task, names: dict[str, str]) -> list[Task]:
    return [shared(task, twin, names)]


def mixed(scale: Scale, part: str) -> Experiment:
    """After the English twin, Romanian with the mixture."""
    multistage = chain(scale, setting(scale).english[part], setting(scale).romanian[part])
    return replace(multistage, name=f"{part}-contrastive", objective=mixture, together=first_tokens)


def across_languages(scale: Scale, part: str) -> Experiment:
    """One head for both languages, on the labels that they share; then Romanian alone with that head."""
    task, twin = setting(scale).romanian[part], setting(scale).english[part]
    before = alone(
        scale,
        task,
        name=f"{part}-across",
        tasks=partial(both_languages, task=task, twin=twin, names=meanings(part, twin)),
        objective=across,
        together=first_tokens,
        epochs=setting(scale).epochs["english"],
        sampling=partial(proportional, exponent=1.0),
    )
    return then(scale, task, before, model=going_on)


def before_a_head(scale: Scale, part: str) -> Experiment:
    """Contrast alone first; its weights are chosen by how far the labels lie apart on dev."""
    task = setting(scale).romanian[part]
    bare = replace(task, name=f"{part}-bare", corpus=replace(task.corpus, kind="text"), metric="apart")
    before = alone(
        scale, task, name=f"{part}-contrast", tasks=[bare], objective=alike, together=first_tokens, judge=apart
    )
    return then(scale, task, before)


def experiment(scale: Scale) -> Experiment:
    systems = [method(scale, part) for method in (mixed, across_languages, before_a_head) for part in PARTS]
    return Experiment(name="contrastive", needs={system.name: system for system in systems})
