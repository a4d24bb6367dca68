"""What each method is there to change, measured on held-out texts: with its weight at 0, and at its default.

A run of no steps takes what a stage leaves and asks of its first tokens' vectors: can a fresh probe tell the languages
apart (reversal and critics: less well), do translations find each other (pairs: more often), do texts of one label lie
nearer to each other than to the rest, in one language and across both (contrast: more so)? Beside `beside` stand the
adversarial stages, beside `pairs-unused` those with translations, beside the plain chain the contrastive ones.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from experiments import adversarial, contrastive, encoders, pairs, self_supervised
from experiments.bilingual import translated
from experiments.multistage import chain
from experiments.scales import PARTS, meanings, setting
from experiments.single import alone
from rocl.data.task import Task, sample
from rocl.experiment import Experiment, Scale
from rocl.models.heads import first, outputs
from rocl.probes import class_distances, language_probe


def judge(model, table, *, twin: Task, names: dict[str, str]) -> dict[str, float]:
    """Of translations retrieval; of a task with labels how well its language is told from that of its twin, and how
    far labels lie apart. `names` are the twin's labels by what the task calls them."""
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


def measured(scale: Scale, part: str, stage: Experiment) -> Experiment:
    """What this stage has made of its encoder."""
    task, twin = setting(scale).romanian[part], setting(scale).english[part]
    bare = replace(task, corpus=replace(task.corpus, kind="text"), metric="apart")
    return Experiment(
        name=f"{stage.name}-measured",
        needs={"before": stage},
        tasks=[bare, *translated(scale)],
        model=partial(encoders.frozen, start=encoders.carried),
        objective=contrastive.alike,
        judge=partial(judge, twin=twin, names=meanings(part, twin)),
        steps=0,
    )


def stages(scale: Scale, part: str) -> list[Experiment]:
    """Each method's own stage, behind the one in which its weight is 0."""
    task, twin = setting(scale).romanian[part], setting(scale).english[part]
    plain = [alone(scale, task), alone(scale, twin), chain(scale, twin, task), contrastive.mixed(scale, part)]
    chains = [method(scale, part) for method in adversarial.METHODS]
    chains += [pairs.paired(scale, part, name, objective) for name, objective in pairs.METHODS.items()]
    chains += [contrastive.across_languages(scale, part), contrastive.before_a_head(scale, part)]
    chains += [self_supervised.contrasted(scale, part)]
    return plain + [last.needs["before"] for last in chains]


def experiment(scale: Scale) -> Experiment:
    part = PARTS[0]  # one task shows it
    systems = [measured(scale, part, stage) for stage in stages(scale, part)]
    return Experiment(name="effects", needs={system.name: system for system in systems})
