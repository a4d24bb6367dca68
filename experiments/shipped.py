"""What rocl-tiny, the encoder in the package, can do: the numbers of its card."""

from functools import partial

from experiments.encoders import compared, stored
from experiments.scales import TINY
from rocl.experiment import Experiment, Scale


def experiment(scale: Scale) -> Experiment:
    return Experiment(name="shipped", needs=compared(scale, {"rocl-tiny": (partial(stored, checkpoint=TINY), {})}))
