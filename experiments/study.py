"""The paper's own systems in one table: single, multi-stage, multi-task and distilled.

Nothing is trained twice: what another file has trained at the same scale and seed is found on disk.
"""

from experiments import mtkd, multistage, multitask, single
from rocl.experiment import Experiment, Scale


def experiment(scale: Scale) -> Experiment:
    parts = [file.experiment(scale) for file in (single, multistage, multitask, mtkd)]
    return Experiment(name="study", needs={part.name: part for part in parts})
