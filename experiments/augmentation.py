"""More Romanian training texts, made of those there are (EDA, Wei and Zou 2019, 1901.11196): after the English twin."""

from functools import partial

from experiments.multistage import chain, then
from experiments.scales import PARTS, setting
from rocl.data.augment import augmented, eda
from rocl.experiment import Experiment, Scale

COPIES = 2


def varied(scale: Scale, part: str) -> Experiment:
    """As many steps as without: each text is seen in its variants instead of again."""
    task, twin = setting(scale).romanian[part], setting(scale).english[part]
    passes = setting(scale).epochs[part] / (1 + COPIES)
    more = augmented(task, partial(eda, alpha=0.1), copies=COPIES)
    return then(scale, more, chain(scale, twin), name=f"{part}-eda", epochs=passes)


def experiment(scale: Scale) -> Experiment:
    systems = [varied(scale, part) for part in PARTS]
    return Experiment(name="augmentation", needs={system.name: system for system in systems})
