"""What distillation must beat: each task alone, after its English twin, and all together on gold labels; one table."""

from experiments import mtkd, single
from experiments.multitask import jointly
from experiments.scales import PARTS, setting
from rocl.experiment import Experiment, Scale


def experiment(scale: Scale) -> Experiment:
    student, tasks = mtkd.experiment(scale), setting(scale).romanian
    alone = [single.alone(scale, tasks[part]) for part in PARTS]
    needs = [*alone, *(student.needs[part] for part in PARTS), jointly(scale, PARTS), student]
    return Experiment(name="compare", needs={need.name: need for need in needs})
