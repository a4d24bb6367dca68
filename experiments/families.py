"""One system of each family on the first task, and MTKD with its specialists: the short form of paper_table.py."""

from experiments import adversarial, contrastive, mtkd, multistage, single
from experiments.scales import PARTS, setting
from rocl.experiment import Experiment, Scale


def experiment(scale: Scale) -> Experiment:
    part, choice = PARTS[0], setting(scale)
    specialists = [multistage.chain(scale, choice.english[each], choice.romanian[each]) for each in PARTS]
    borrowing = [method(scale, part) for method in (adversarial.beside, adversarial.adversarial, contrastive.mixed)]
    systems = [single.alone(scale, choice.romanian[part]), *specialists, *borrowing, mtkd.experiment(scale)]
    return Experiment(name="families", needs={system.name: system for system in systems})
