"""Contrast without labels before fine-tuning (CERT, Fang et al. 2020, 2005.12766; MoCo, He et al. 2020, 1911.05722).

Two augmentations of each Romanian training text must find each other among those of earlier texts: the encoder makes
the queries, a slowly following copy of it the keys, which wait in a queue. Then the task is learned as usual. With a
translation service, back-translations take the place of EDA: `partial(back_translated, corpora=[...])`.
"""

from dataclasses import replace
from functools import partial

from experiments.multistage import then
from experiments.pairs import judge
from experiments.scales import PARTS, setting
from experiments.single import alone
from rocl.data.augment import eda, views
from rocl.experiment import Experiment, Scale
from rocl.losses import momentum_contrast
from rocl.models.heads import Model, Momentum, by_text, first, mlp

VARIANT = partial(eda, alpha=0.2)  # of a row, by its number


def with_memory(tasks, done, *, start, width: int, keys: int) -> Model:
    """The queue is short beside the number of texts: in it a text must not meet keys of its own last turn."""
    encoder, texts = start([], done).encoder, len(tasks[0].rows("train"))
    projection = mlp(encoder, width, pool=first)
    memory = Momentum(encoder, projection, max(1, min(keys, texts // 4)))
    return Model(encoder, {"projection": projection, "memory": memory})


def objective(model, encoded, batch, progress, *, temperature: float = 0.07):
    """Each view is a query once and a key once."""
    memory = model.heads["memory"]
    queries = model.heads["projection"](by_text(encoded)).unflatten(0, (-1, 2))  # (R, 2, D)
    keys = memory(batch, model.precision).unflatten(0, (-1, 2))  # (R, 2, D)
    both = [momentum_contrast(queries[:, n], keys[:, 1 - n], memory.queue, temperature) for n in (0, 1)]
    return {"contrast": sum(both) / 2}


def contrasted(scale: Scale, part: str, *, keys: int = 6720, width: int = 128) -> Experiment:
    task = setting(scale).romanian[part]
    base = alone(scale, task)
    before = replace(
        base,
        name=f"{part}-views",
        tasks=[views(task, VARIANT)],
        model=partial(with_memory, start=base.model, width=width, keys=keys),
        objective=objective,
        judge=judge,  # how often a view finds the other one of its text
    )
    return then(scale, task, before)


def experiment(scale: Scale) -> Experiment:
    systems = [contrasted(scale, part) for part in PARTS]
    return Experiment(name="self-supervised", needs={system.name: system for system in systems})
