"""rocl-tiny and rocl-mini fine-tuned for more passes than the scale gives: what they can do beside TF-IDF."""

from experiments.encoders import fine_tuned, judged, starts
from rocl.experiment import Experiment, Scale

PASSES = {"emotion": 6, "reviews": 3}  # of the tasks of `encoders.judged`


def experiment(scale: Scale) -> Experiment:
    systems = {}
    for name in ("rocl-tiny", "bilingual"):
        for task in [task for task in judged(scale) if task.name in PASSES]:
            called = f"{task.name}-longer-from-{name}"
            system = fine_tuned(scale, task, called, starts(scale)[name], PASSES[task.name])
            systems[system.name] = system
    return Experiment(name="encoders-longer", needs=systems)
