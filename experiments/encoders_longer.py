"""rocl-tiny and rocl-mini fine-tuned for more passes than the scale gives: what they can do beside TF-IDF."""

from functools import partial

from experiments.encoders import judged, starts, tuned
from experiments.single import alone
from rocl.experiment import Experiment, Scale

PASSES = {"emotion": 6, "reviews": 3}  # of the tasks of `encoders.judged`


def experiment(scale: Scale) -> Experiment:
    systems = {}
    for name in ("rocl-tiny", "bilingual"):
        start, needs = starts(scale)[name]
        for task in [task for task in judged(scale) if task.name in PASSES]:
            values = {"epochs": PASSES[task.name], "model": partial(tuned, start=start), "needs": needs}
            system = alone(scale, task, name=f"{task.name}-longer-from-{name}", **values)
            systems[system.name] = system
    return Experiment(name="encoders-longer", needs=systems)
