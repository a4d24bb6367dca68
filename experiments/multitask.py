"""One model for several tasks at once, on gold labels: every subset of the Romanian tasks, the paper's ablation."""

from functools import partial
from itertools import combinations

from experiments.scales import PARTS, setting
from experiments.single import alone
from rocl.data.batches import proportional
from rocl.experiment import Experiment, Scale


def jointly(scale: Scale, parts: tuple[str, ...]) -> Experiment:
    """These Romanian tasks with shared layers and a head each."""
    choice = setting(scale)
    tasks = [choice.romanian[part] for part in parts]
    sampling = partial(proportional, exponent=choice.exponent)
    name = "multitask-" + "-".join(parts)
    return alone(scale, tasks[0], name=name, tasks=tasks, epochs=choice.epochs["all"], sampling=sampling)


def experiment(scale: Scale) -> Experiment:
    subsets = [parts for size in (2, 3) for parts in combinations(PARTS, size)]
    needs = [jointly(scale, parts) for parts in subsets]
    return Experiment(name="multitask", needs={need.name: need for need in needs})
