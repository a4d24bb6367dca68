"""What each method is there to change, measured on held-out texts: with its weight at 0, and at its default.

A run of no steps takes what a stage leaves. Of its first tokens' vectors it asks: can a fresh probe tell the languages
apart (reversal and critics: less well), do translations find each other (pairs: more often), do texts of one label lie
nearer to each other than to the rest, in one language and across both (contrast: more so), do two variants of a text
find each other (contrast without labels: more often)? Of its head: how far do two passes with dropout disagree (R-Drop:
less), how far two variants of a text (EDA: less), and is it as right as it is sure (calibration: distillation)? Beside
`beside` stand the adversarial stages, beside `pairs-unused` those with translations, beside `twice` R-Drop, beside the
tasks together MTKD, beside the plain chain the others. What the tasks' gradients have in common with the one that is
taken stands under `gradients` in the logs of `multitask-watched` and `multitask-pcgrad`.
"""

from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch

from experiments import (
    adversarial,
    augmentation,
    consistency,
    contrastive,
    encoders,
    mtkd,
    pairs,
    self_supervised,
    tasks_together,
)
from experiments.bilingual import translated
from experiments.multistage import chain
from experiments.scales import PARTS, meanings, setting
from experiments.single import alone
from rocl.data.augment import eda, views
from rocl.data.batches import twice
from rocl.data.task import Task, sample
from rocl.decisions import probabilities
from rocl.experiment import Experiment, Scale
from rocl.losses import disagreement
from rocl.models.heads import BUDGET, Model, by_text, first, outputs
from rocl.probes import calibration, class_distances, language_probe


def judge(model, table, *, twin: Task, names: dict[str, str]) -> dict[str, float]:
    """Of rows of two texts how often they find each other; of a task with labels how well its language is told from
    that of its twin, and how far labels lie apart. `names` are the twin's labels by what the task calls them."""
    task = table.task
    if not task.labels:
        return pairs.judge(model, table)
    other = model.table(twin, "dev")
    held = [outputs(model, each, first) for each in (table, other)]  # (N, D) each
    fit = [outputs(model, model.table(sample(each, 1000), "train"), first) for each in (task, twin)]
    places = [[task.labels.index(name) for name in names.values()], [twin.labels.index(name) for name in names]]
    gold = [each.columns["labels"][:, place] for each, place in zip((table, other), places, strict=True)]
    found = class_distances(held, gold)
    centre = {name.replace(", ", "_"): float(np.nanmean(found[name])) for name in ("across", "across, others")}
    return {"language_probe": language_probe(fit, held), **contrastive.apart(model, table), **centre}


def judge_head(model, table, *, head: str, kind: str) -> dict[str, float]:
    """Of the task itself calibration, and by how much two passes with dropout disagree; of two variants of each text
    by how much they do without."""
    said = partial(both, model=model, head=head)
    if not table.task.labels:
        logits = outputs(model, table, said).swapaxes(0, 1)  # (2, N, C)
        return {"variants": float(disagreement(*torch.from_numpy(logits), kind=kind).mean())}
    logits = outputs(model, table, model.heads[head])  # (N, C)
    found, _ = calibration(probabilities(logits, kind), table.columns["labels"], kind)
    return {"passes": passes(model, table, said, kind), "ECE": found["ECE"], "NLL": found["NLL"]}


def both(encoded, *, model, head: str) -> torch.Tensor:
    """What the head says of the two texts of each row, (R, 2, C)."""
    return model.heads[head](by_text(encoded)).unflatten(0, (-1, 2))


@torch.no_grad()
def passes(model, table, said, kind: str) -> float:
    """The mean disagreement of two passes over the same text, each with its own dropout."""
    model.train()
    total = 0.0
    for rows in table.cut(np.arange(len(table)), BUDGET // 2):
        one, two = said(model.encode(twice(table.batch(rows)).to(model.device))).float().unbind(1)  # (R, C) each
        total += disagreement(one, two, kind=kind).sum().item()
    model.eval()
    return total / len(table)


@cache
def variants(scale: Scale, part: str) -> Task:
    """Two of each text, made as experiments/self_supervised.py makes them."""
    return views(setting(scale).romanian[part], partial(eda, alpha=0.2))


def bare(task: Task, metric: str) -> Task:
    """A task as text that a judge scores; its labels stay beside it."""
    return replace(task, corpus=replace(task.corpus, kind="text"), metric=metric)


def measured(scale: Scale, part: str, stage: Experiment) -> Experiment:
    """What this stage has made of its encoder."""
    task, twin = setting(scale).romanian[part], setting(scale).english[part]
    return Experiment(
        name=f"{stage.name}-measured",
        needs={"before": stage},
        tasks=[bare(task, "apart"), variants(scale, part), *translated(scale)],
        model=partial(encoders.frozen, start=encoders.carried),
        objective=contrastive.alike,
        judge=partial(judge, twin=twin, names=meanings(part, twin)),
        steps=0,
    )


def heard(scale: Scale, part: str, system: Experiment) -> Experiment:
    """What the head of a task says after this."""
    task = setting(scale).romanian[part]
    return Experiment(
        name=f"{system.name}-heard",
        needs={"before": system},
        tasks=[bare(task, "passes"), replace(variants(scale, part), metric="variants")],
        model=partial(with_head, head=part),
        objective=contrastive.alike,
        judge=partial(judge_head, head=part, kind=task.kind),
        steps=0,
    )


def with_head(tasks, done, *, head: str) -> Model:
    before = done["before"].model()
    return Model(before.encoder, {head: before.heads[head]})


def stages(scale: Scale, part: str) -> list[Experiment]:
    """Each method's own stage, behind the one in which its weight is 0."""
    task, twin = setting(scale).romanian[part], setting(scale).english[part]
    plain = [alone(scale, task), alone(scale, twin), chain(scale, twin, task), contrastive.mixed(scale, part)]
    chains = [method(scale, part) for method in adversarial.METHODS]
    chains += [pairs.paired(scale, part, name, objective) for name, objective in pairs.METHODS.items()]
    chains += [contrastive.across_languages(scale, part), contrastive.before_a_head(scale, part)]
    chains += [self_supervised.contrasted(scale, part)]
    return plain + [last.needs["before"] for last in chains]


def systems(scale: Scale, part: str) -> list[Experiment]:
    """Methods that change what a head says, each behind the one in which its weight is 0."""
    agreeing = consistency.consistent(scale, part)
    unasked = replace(agreeing, name=f"{part}-twice", objective=partial(consistency.objective, weight=0.0))
    multistage = chain(scale, setting(scale).english[part], setting(scale).romanian[part])
    together = tasks_together.watched(scale)
    return [unasked, agreeing, multistage, augmentation.varied(scale, part), together, mtkd.experiment(scale)]


def experiment(scale: Scale) -> Experiment:
    part = PARTS[0]  # one task shows it
    found = [measured(scale, part, stage) for stage in stages(scale, part)]
    found += [heard(scale, part, system) for system in systems(scale, part)]
    found += [tasks_together.projected(scale)]
    return Experiment(name="effects", needs={each.name: each for each in found})
