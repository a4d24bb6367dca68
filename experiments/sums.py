"""What helps a little, put together: reversal, translations and contrast in one chain."""

from functools import partial

from experiments import adversarial, contrastive, pairs
from experiments.multistage import then
from experiments.scales import PARTS, setting
from rocl.data.batches import proportional
from rocl.data.mixing import unlabelled
from rocl.data.task import Task
from rocl.experiment import Experiment, Scale
from rocl.models.heads import first_tokens


def all_of_them(done, *, languages: list[Task], translations: list[Task]) -> list[Task]:
    return [*adversarial.by_language(done, tasks=languages), *translations]


def objective(model, encoded, batch, progress, *, reversal: float):
    if "language" in batch.columns:
        return adversarial.misled(model, encoded, batch, progress, reversal=reversal)
    return pairs.finding(model, encoded, batch, progress)


def summed(scale: Scale, part: str) -> Experiment:
    """English with reversal and translations; then Romanian with the contrastive mixture."""
    twin, task = setting(scale).english[part], setting(scale).romanian[part]
    languages = [twin, unlabelled(task, f"{part}-text")]
    before = adversarial.english(
        scale,
        part,
        f"{part}-en-sum",
        tasks=partial(all_of_them, languages=languages, translations=pairs.bare(scale)),
        objective=partial(objective, reversal=adversarial.REVERSAL),
        judge=pairs.judge,
        together=first_tokens,
        sampling=partial(proportional, exponent=1.0),
    )
    return then(scale, task, before, name=f"{part}-sum", objective=contrastive.mixture, together=first_tokens)


def experiment(scale: Scale) -> Experiment:
    systems = [summed(scale, part) for part in PARTS]
    return Experiment(name="sums", needs={system.name: system for system in systems})
