"""Encoders side by side: new weights, the encoder of the scale, the bilingual one, and the tiny one of the package.

As they are: do a sentence and its translation find each other, and what does logistic regression make of the vectors
(a linear probe)? And fine-tuned on each Romanian task.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from experiments import bilingual
from experiments.scales import PARTS, TINY, setting
from experiments.single import alone, classifiers
from rocl import baselines, metrics
from rocl.data import batches, tokens, vocabulary
from rocl.data.corpora import laroseda
from rocl.data.task import Task
from rocl.experiment import Experiment, Scale
from rocl.models.checkpoints import Checkpoint
from rocl.models.encoder import Encoder
from rocl.models.heads import Model, mean, outputs

Start = tuple[Callable[[Mapping], Encoder], dict[str, Experiment]]  # the encoder from what is done, what must be done


def judged(scale: Scale) -> list[Task]:
    """The tasks of the scale; reviews without their titles, which give the verdict away."""
    tasks = list(setting(scale).romanian.values())
    if scale is Scale.SAMPLE:
        return tasks
    bare = replace(tasks[1], name="reviews", corpus=laroseda.laroseda(title=False))
    return [tasks[0], bare, tasks[2]]


def starts(scale: Scale) -> dict[str, Start]:
    old = setting(scale).encoder
    return {
        "nothing": (partial(new, checkpoint=old), {}),
        **({"old": (partial(stored, checkpoint=old), {})} if old != TINY else {}),
        "rocl-tiny": (partial(stored, checkpoint=TINY), {}),
        "bilingual": (carried, {"before": bilingual.bilingual(scale)}),
    }


def new(done, *, checkpoint: Checkpoint) -> Encoder:
    return checkpoint.fresh()


def stored(done, *, checkpoint: Checkpoint) -> Encoder:
    return checkpoint.encoder()


def carried(done) -> Encoder:
    return done["before"].encoder()


class Frozen(Model):
    """An encoder as it is, and what was found once for each task: a linear probe over its mean vectors, and words."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder, {"sentence": torch.nn.Identity()})
        self.tokenizer = tokens.tokenizer(encoder.source)
        self.probes: dict[str, tuple[Callable, np.ndarray | None]] = {}
        self.words: dict[str, dict[str, float]] = {}

    def table(self, task: Task, split: str) -> batches.Table:
        return batches.table(task, split, self.tokenizer, None)

    def probe(self, task: Task, kind: str) -> tuple[Callable, np.ndarray | None]:
        """Logits (rows, C) of mean vectors (rows, D), and the thresholds that suit dev."""
        if task.name not in self.probes:
            train, dev = self.table(task, "train"), self.table(task, "dev")
            logits = baselines.probe(outputs(self, train, mean), train.columns["labels"])
            thresholds = metrics.dev_thresholds(dev.columns["labels"], logits(outputs(self, dev, mean)), kind)
            self.probes[task.name] = logits, thresholds
        return self.probes[task.name]

    def cuts(self, task: Task) -> dict[str, float]:
        """How the vocabulary cuts the training texts."""
        if task.name not in self.words:
            texts = [text for row in task.rows("train") for text in row.texts]
            self.words[task.name] = vocabulary.report(self.tokenizer, texts)
        return self.words[task.name]


def frozen(tasks, done, *, start: Callable) -> Model:
    return Frozen(start(done))


def tuned(tasks, done, *, start: Callable) -> Model:
    """With vectors of one size, so that only what they know tells the encoders apart."""
    return classifiers(bilingual.sized(start(done), tasks), tasks)


def fine_tuned(scale: Scale, task: Task, name: str, start: Start, epochs: float) -> Experiment:
    """The task alone, from this start."""
    encoder, needs = start
    return alone(scale, task, name=name, epochs=epochs, model=partial(tuned, start=encoder), needs=needs)


def judge(model, table, *, kinds: dict[str, str]) -> dict[str, float]:
    """Pairs by finding the translation, tasks with labels by a probe; and how the training texts are cut."""
    task = table.task
    if not task.labels:
        return bilingual.judge(model, table) | model.cuts(task)
    logits, thresholds = model.probe(task, kinds[task.name])
    gold, said = table.columns["labels"], logits(outputs(model, table, mean))
    scores = metrics.scores(gold, said, task.labels, kinds[task.name], thresholds, metrics.DRAWS)
    return scores | model.cuts(task)


def as_it_is(
    scale: Scale, name: str, start: Callable, needs: dict[str, Experiment], seed: int | None, tasks: Sequence[Task]
) -> Experiment:
    """An encoder that nothing is done to, judged on pairs and, by probes, on every task."""
    return Experiment(
        name=f"{name}-as-it-is",
        needs=needs,
        tasks=[
            *bilingual.translated(scale),
            *(replace(task, corpus=replace(task.corpus, kind="text")) for task in tasks),
        ],
        model=partial(frozen, start=start),
        objective=bilingual.objective,
        judge=partial(judge, kinds={task.name: task.kind for task in tasks}),
        steps=0,
        seed=seed,
    )


def beginning(scale: Scale) -> Start:
    """The encoder that the systems of the scale start from."""
    if setting(scale).grow:
        return carried, {"before": bilingual.bilingual(scale)}
    return partial(stored, checkpoint=setting(scale).encoder), {}


def frozen_encoder(scale: Scale) -> Experiment:
    start, needs = beginning(scale)
    return as_it_is(scale, "frozen", start, needs, 1, list(setting(scale).romanian.values()))


def compared(scale: Scale, starts: dict[str, Start]) -> dict[str, Experiment]:
    """Each start as it is and fine-tuned on each task."""
    systems = []
    for name, (start, needs) in starts.items():
        seed = None if name == "nothing" else 1  # nothing is drawn
        systems.append(as_it_is(scale, name, start, needs, seed, judged(scale)))
        for task, part in zip(judged(scale), PARTS, strict=True):
            passes = setting(scale).epochs[part]
            systems.append(fine_tuned(scale, task, f"{task.name}-from-{name}", (start, needs), passes))
    return {system.name: system for system in systems}


def experiment(scale: Scale) -> Experiment:
    return Experiment(name="encoders", needs=compared(scale, starts(scale)))
