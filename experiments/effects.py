"""What each method is there to change, measured on held-out texts: with its weight at 0, and at its default.

Runs of no steps take what others leave. Of an encoder they ask (`*-vectors`, of first tokens; `*-variants`):

| is it so that | figure | more of it by | less of it by | beside |
|---|---|---|---|---|
| a fresh probe tells the languages apart | language_probe | cooperative | adversarial, critics | `-en-beside` |
| translations find each other | retrieval | finding, meeting | | `-pairs-unused` |
| translations still do after English that fades out | retrieval | gradual | | `-en+` |
| texts of a label lie nearer to each other | apart | contrastive, contrast | | `-en+`, the encoder as it is |
| labels of both languages share a centre | across | | across | `-across-unasked` |
| two variants of a text find each other | retrieval | views | | the encoder as it is |

Of a head (`*-head`, `*-variants`):

| is it so that | figure | less of it by | beside |
|---|---|---|---|
| two passes with dropout disagree | passes_divergence | r-drop | `-twice`, which only takes two passes |
| two variants of a text are answered differently | variants_divergence | eda | `-en+` |
| it is surer than it is right, or less sure | ece | mtkd | `multitask-watched` |

Of tasks learned together (`*-losses`): the loss of each, and what is left of it after the weight that it was given,
which `multitask-uncertain` is to make even; `multitask-watched` weighs all alike. What the tasks' gradients have in
common with the step that is taken stands in the logs of `multitask-watched` and `multitask-pcgrad`, under `gradients/`.
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
    gradual,
    mtkd,
    pairs,
    self_supervised,
    tasks_together,
)
from experiments.bilingual import translated
from experiments.multistage import chain
from experiments.scales import PARTS, meanings, setting
from rocl.data.batches import twice
from rocl.data.corpus import Row
from rocl.data.task import Task, sample
from rocl.experiment import Experiment, Scale
from rocl.losses import classify, disagreement, soften
from rocl.models.heads import BUDGET, Model, by_text, first, outputs
from rocl.probes import calibration, class_distances, language_probe


def of_vectors(model, table, *, twin: Task, names: dict[str, str]) -> dict[str, float]:
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


def of_head(model, table, *, head: str, kind: str) -> dict[str, float]:
    """Of rows of two variants how far the answers diverge, in nats; of the task itself calibration, and how far two
    passes with dropout diverge."""
    answers = partial(in_pairs, model=model, head=head)
    if not table.task.labels:
        one, two = torch.from_numpy(outputs(model, table, answers)).unbind(1)  # (N, C) each
        return {"variants_divergence": disagreement(one, two, kind=kind).mean().item()}
    logits = torch.from_numpy(outputs(model, table, model.heads[head]))  # (N, C)
    found, _ = calibration(soften(logits.double(), kind=kind).numpy(), table.columns["labels"], kind)
    return {"passes_divergence": passes(model, table, answers, kind), "ece": found["ECE"]}


def in_pairs(encoded, *, model, head: str) -> torch.Tensor:
    """What the head says of the two texts of each row, (R, 2, C)."""
    return model.heads[head](by_text(encoded)).unflatten(0, (-1, 2))


@torch.no_grad()
def passes(model, table, answers, kind: str) -> float:
    """The mean divergence of two passes over the same row, of one text, each with its own dropout."""
    total = 0.0
    with torch.random.fork_rng():
        model.train()
        for rows in table.cut(np.arange(len(table)), BUDGET // 2):
            one, two = answers(model.encode(twice(table.batch(rows)).to(model.device))).float().unbind(1)  # (R, C)
            total += disagreement(one, two, kind=kind).sum().item()
        model.eval()
    return total / len(table)


def bare(task: Task, ending: str, metric: str) -> Task:
    """A task as text that a judge scores; its labels stay beside it."""
    return replace(task, name=f"{task.name}-{ending}", corpus=replace(task.corpus, kind="text"), metric=metric)


@cache
def variants(scale: Scale, part: str, metric: str) -> Task:
    """Two of each row, as `rocl.data.augment.views` makes them, but of test texts too: nothing learns from these."""
    task = setting(scale).romanian[part]
    name = f"{task.corpus.name}-variants"
    corpus = replace(task.corpus, name=name, labels=(), kind="text", read=partial(in_two, task))
    return replace(task, name=f"{part}-variants", corpus=corpus, metric=metric, drop_leaks=False, cuts=(), columns={})


def in_two(task: Task, _) -> dict[str, list[Row]]:
    splits = {split: task.rows(split) for split in ("train", "dev", "test")}
    return {split: [variant_pair(row) for row in rows] for split, rows in splits.items()}


def variant_pair(row: Row) -> Row:
    return replace(row, texts=tuple("\n".join(self_supervised.VARIANT(row, copy)) for copy in (1, 2)), labels=())


def of_losses(model, table, *, tasks: dict[str, Task]) -> dict[str, float]:
    """The mean loss of a task, and times the weight that it has among the others."""
    task = tasks[table.task.name]
    logits = torch.from_numpy(outputs(model, table, model.heads[task.name]))  # (N, C)
    loss = classify(logits, torch.from_numpy(table.columns["labels"]), kind=task.kind).mean().item()
    weight = 1.0
    if "variances" in model.heads:
        weight = torch.exp(-model.heads["variances"](PARTS.index(task.name))).item()
    return {"loss": loss, "weighted_loss": weight * loss}


def with_head(tasks, done, *, head: str) -> Model:
    before = done["before"].model()
    return Model(before.encoder, {head: before.heads[head]})


def as_left(tasks, done) -> Model:
    return done["before"].model()


def vectors(scale: Scale, part: str, name: str, start: encoders.Start) -> Experiment:
    """What is in an encoder."""
    task, twin = setting(scale).romanian[part], setting(scale).english[part]
    encoder, needs = start
    return Experiment(
        name=f"{name}-measured",
        needs=needs,
        tasks=[bare(task, "vectors", "apart"), variants(scale, part, "retrieval"), *translated(scale)],
        model=partial(encoders.frozen, start=encoder),
        objective=contrastive.alike,
        judge=partial(of_vectors, twin=twin, names=meanings(part, twin)),
        steps=0,
    )


def measured(scale: Scale, part: str, stage: Experiment) -> Experiment:
    """What this stage has made of its encoder."""
    return vectors(scale, part, stage.name, (encoders.carried, {"before": stage}))


def heard(scale: Scale, part: str, system: Experiment) -> Experiment:
    """What the head of a task says after this."""
    task = setting(scale).romanian[part]
    return Experiment(
        name=f"{system.name}-heard",
        needs={"before": system},
        tasks=[bare(task, "head", "ece"), variants(scale, part, "variants_divergence")],
        model=partial(with_head, head=part),
        objective=contrastive.alike,
        judge=partial(of_head, head=part, kind=task.kind),
        steps=0,
    )


def weighed(scale: Scale, system: Experiment) -> Experiment:
    """How much of the loss each of the tasks has that were learned together."""
    tasks = [setting(scale).romanian[part] for part in PARTS]
    texts = [bare(task, "losses", "weighted_loss") for task in tasks]
    return Experiment(
        name=f"{system.name}-weighed",
        needs={"before": system},
        tasks=texts,
        model=as_left,
        objective=contrastive.alike,
        judge=partial(of_losses, tasks={text.name: task for text, task in zip(texts, tasks, strict=True)}),
        steps=0,
    )


def stages(scale: Scale, part: str) -> list[Experiment]:
    """Each method's own stage, and those in which its weight is 0."""
    task, twin = setting(scale).romanian[part], setting(scale).english[part]
    multistage, across = chain(scale, twin, task), contrastive.across_languages(scale, part).needs["before"]
    unasked = replace(across, name=f"{across.name}-unasked", objective=partial(contrastive.across, weight=0.0))
    chains = [method(scale, part) for method in adversarial.METHODS]
    chains += [method(scale, part) for method in pairs.METHODS]
    chains += [contrastive.before_a_head(scale, part), self_supervised.contrasted(scale, part)]
    ends = [multistage, gradual.gradual(scale, part), contrastive.mixed(scale, part), unasked, across]
    return [*ends, *(last.needs["before"] for last in chains)]


def systems(scale: Scale, part: str) -> list[Experiment]:
    """Methods that change what a head says, and those in which their weight is 0."""
    agreeing = consistency.consistent(scale, part)
    unasked = replace(agreeing, name=f"{part}-twice", objective=partial(consistency.objective, weight=0.0))
    multistage = chain(scale, setting(scale).english[part], setting(scale).romanian[part])
    together = [tasks_together.watched(scale), tasks_together.projected(scale), mtkd.experiment(scale)]
    return [unasked, agreeing, multistage, augmentation.varied(scale, part), *together]


def experiment(scale: Scale) -> Experiment:
    part = PARTS[0]  # one task shows it
    found = [vectors(scale, part, "encoder", encoders.beginning(scale))]
    found += [measured(scale, part, stage) for stage in stages(scale, part)]
    found += [heard(scale, part, system) for system in systems(scale, part)]
    together = [tasks_together.watched(scale), tasks_together.uncertain_ones(scale)]
    found += [weighed(scale, system) for system in together]
    return Experiment(name="effects", needs={each.name: each for each in found})
