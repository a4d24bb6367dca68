"""Chains of tasks: each stage goes on with the encoder of the one before, under a new head.

The paper's chains stand in it: Emotion -> REDv2, SST-2 -> REDv2, SST-2 -> LaRoSeDa, AG News -> MOROCO. (Multi-stage
fine-tuning without the gradual mixing of Xu et al. 2021.)
"""

from experiments.scales import setting
from experiments.single import alone, carried_on
from rocl.data.task import Task
from rocl.experiment import Experiment, Scale


def chain(scale: Scale, *stages: Task, **changes) -> Experiment:
    """The last stage, which needs the one before, and so on down to the pretrained encoder; `changes` are for each."""
    *earlier, last = stages
    if not earlier:
        return alone(scale, last, **changes)
    return then(scale, last, chain(scale, *earlier, **changes), **changes | {"model": carried_on})


def then(scale: Scale, task: Task, before: Experiment, **changes) -> Experiment:
    """The task, learned with the encoder that `before` leaves."""
    own = {"name": f"{before.name}+{task.name}", "model": carried_on, "needs": {"before": before}}
    return alone(scale, task, **own | changes)


def experiment(scale: Scale) -> Experiment:
    ro, en = setting(scale).romanian, setting(scale).english
    chains = [
        chain(scale, en["emotion"], ro["emotion"]),
        chain(scale, en["sentiment"], ro["emotion"]),
        chain(scale, en["sentiment"], ro["sentiment"]),
        chain(scale, en["news"], ro["news"]),
    ]
    return Experiment(name="multistage", needs={last.name: last for last in chains})
