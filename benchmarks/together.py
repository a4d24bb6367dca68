"""Memory of a contrastive step of thousands of texts, in the loop's two passes, beside one of as many as fit at once.

python -m benchmarks.together [--short]

All rows of a step stand against each other (supervised contrast); what the first pass keeps of a text is its first
token's vector. Of the smaller step the gradient is compared with that of one pass. Float32, without dropout.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from benchmarks import made_up, measure
from rocl.experiment import Experiment
from rocl.losses import supervised_contrastive
from rocl.models.encoder import Config
from rocl.models.heads import Model, first, first_tokens
from rocl.step import State, backward

FULL = {"config": made_up.MINILM, "rows": (256, 4096), "budget": 12_288}  # tokens at once: 256 tweets
SHORT = {"config": made_up.SMALL, "rows": (32, 256), "budget": 1536}


def objective(model, encoded, batch, progress):
    return {"contrast": supervised_contrastive(first(encoded), batch.columns["labels"])}


def step(config: Config, most: int, budget: int) -> Callable[[int], Model]:
    """A function that gives the model the gradient of a step on its first rows, `most` at most."""
    still = replace(config, dropout=0.0, attention_dropout=0.0, output_dropout=0.0)
    lengths = made_up.lengths("tweets", most, config.positions)
    table = made_up.table("tweets", made_up.packed(lengths, config.vocabulary), 2)
    model = made_up.model(still, [table])
    model.precision = torch.float32
    values = {"tasks": [table.task], "model": Model, "objective": objective, "steps": 1}
    experiment = Experiment(name="together", together=first_tokens, token_budget=budget, **values)
    scaler = torch.amp.GradScaler(model.device.type, enabled=False)

    def take(rows: int) -> Model:
        model.zero_grad()
        pairs = np.stack([np.zeros(rows, int), np.arange(rows)], 1)
        backward(experiment, model, [table], pairs, 0, 0.5, {}, scaler, State())
        return model

    return take


def warmed(config: Config, rows: int, budget: int) -> Callable[[], Model]:
    """A step of so many rows, once the libraries are in memory."""
    take = step(config, rows, budget)
    take(2)
    return partial(take, rows)


def gradient(model: Model) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def run(*, config: Config, rows: tuple[int, int], budget: int) -> None:
    results = [{"rows": size, "peak_mib": measure.peak(warmed, config, size, budget)} for size in rows]
    few, _ = rows
    one, two = (gradient(step(config, few, at_once)(few)) for at_once in (10**9, budget // 8))
    difference = ((one - two).norm() / one.norm()).item()
    measure.tell("together", results, budget=budget, difference_of_gradients=difference)


def main(short: bool) -> None:
    run(**(SHORT if short else FULL))


if __name__ == "__main__":
    main(measure.short(__doc__))
