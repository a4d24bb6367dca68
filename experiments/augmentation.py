"""More Romanian training texts, made of those there are; after the English twin.

Words swapped and deleted (EDA, Wei and Zou 2019, 1901.11196), or words that a masked language model of both languages
puts in the place of others.
"""

from functools import partial

from experiments.bilingual import guesses, mini
from experiments.multistage import chain, then
from experiments.scales import PARTS, setting
from rocl.data.augment import answers, augmented, eda, rewritten
from rocl.data.task import Task
from rocl.experiment import Experiment, Scale

COPIES = 2


def varied(scale: Scale, part: str) -> Experiment:
    """As many steps as without: a text is seen in its variants instead of again."""
    task, twin = setting(scale).romanian[part], setting(scale).english[part]
    passes = setting(scale).epochs[part] / (1 + COPIES)
    more = augmented(task, partial(eda, alpha=0.1), copies=COPIES)
    return then(scale, more, chain(scale, twin), name=f"{part}-eda", epochs=passes)


def guessed(done, *, task: Task) -> list[Task]:
    path = done["words"].rewrite(task, guesses, copies=COPIES)
    return [augmented(task, partial(rewritten, answers=answers(path)), copies=COPIES)]


def reworded(scale: Scale, part: str) -> Experiment:
    task, before = setting(scale).romanian[part], chain(scale, setting(scale).english[part])
    return then(
        scale,
        task,
        before,
        name=f"{part}-reworded",
        needs={"before": before, "words": mini(scale)},
        tasks=partial(guessed, task=task),
        epochs=setting(scale).epochs[part] / (1 + COPIES),
    )


def experiment(scale: Scale) -> Experiment:
    systems = [method(scale, part) for method in (varied, reworded) for part in PARTS]
    return Experiment(name="augmentation", needs={system.name: system for system in systems})
