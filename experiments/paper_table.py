"""The whole comparison: every method, the tasks together in every combination, and MTKD with its variants; one table.

It trains what is missing and shares every stage that two systems have in common, with the other files too; stopped, the
same command goes on. Majority and TF-IDF come with every table; a probe of the frozen encoder stands in it as well.
"""

from experiments import (
    adversarial,
    augmentation,
    consistency,
    contrastive,
    encoders,
    gradual,
    mtkd_variants,
    multistage,
    multitask,
    pairs,
    self_supervised,
    single,
    sums,
    tasks_together,
)
from experiments.scales import PARTS, setting
from rocl.experiment import Experiment, Scale


def by_part(scale: Scale, part: str) -> list[Experiment]:
    """The systems of one Romanian task."""
    task, twin = setting(scale).romanian[part], setting(scale).english[part]
    return [
        single.alone(scale, task),
        multistage.chain(scale, twin, task),
        gradual.gradual(scale, part),
        *(method(scale, part) for method in adversarial.METHODS),
        contrastive.mixed(scale, part),
        contrastive.across_languages(scale, part),
        contrastive.before_a_head(scale, part),
        *(method(scale, part) for method in pairs.METHODS),
        consistency.consistent(scale, part),
        augmentation.varied(scale, part),
        augmentation.reworded(scale, part),
        self_supervised.contrasted(scale, part),
        sums.summed(scale, part),
    ]


def experiment(scale: Scale) -> Experiment:
    systems = [encoders.frozen_encoder(scale)]
    systems += [system for part in PARTS for system in by_part(scale, part)]
    for study in (multistage, multitask, tasks_together, mtkd_variants):
        systems += study.experiment(scale).needs.values()
    return Experiment(name="paper-table", needs={system.name: system for system in systems})
