"""Memory of a contrastive step of thousands of texts, in the loop's two passes, beside steps of as many as fit at once.

python -m benchmarks.together [--short]

All rows of a step stand against each other (supervised contrast); what the first pass keeps of a text is its first
token's vector. As many as fit are the first of the rows, or the longest, which come together in one part of the large
step. Of a smaller step the gradient is compared with that of one pass. Float32, without dropout.
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


def step(config: Config, most: int, budget: int) -> tuple[Callable[[np.ndarray], Model], np.ndarray]:
    """A function that gives the model the gradient of a step on rows of `most`, and the lengths of these."""
    still = replace(config, dropout=0.0, attention_dropout=0.0, output_dropout=0.0)
    lengths = made_up.lengths("tweets", most, config.positions)
    table = made_up.table("tweets", made_up.packed(lengths, config.vocabulary), 2)
    model = made_up.model(still, [table])
    model.precision = torch.float32
    values = {"tasks": [table.task], "model": Model, "objective": objective, "steps": 1}
    experiment = Experiment(name="together", together=first_tokens, token_budget=budget, **values)
    scaler = torch.amp.GradScaler(model.device.type, enabled=False)

    def take(rows: np.ndarray) -> Model:
        model.zero_grad()
        pairs = np.stack([np.zeros(len(rows), int), rows], 1)
        backward(experiment, model, [table], pairs, 0, 0.5, {}, scaler, State())
        return model

    return take, table.lengths


def warmed(config: Config, most: int, budget: int, choice: str) -> Callable[[], Model]:
    """A step of all rows, of the first that are as many as fit at once, or of the longest that do: their attention
    keeps more a token. Once the libraries are in memory."""
    take, lengths = step(config, most, budget)
    rows = np.argsort(-lengths, kind="stable") if choice == "longest" else np.arange(most)
    if choice != "all":
        rows = rows[lengths[rows].cumsum() <= budget]
    take(np.arange(2))
    return partial(take, rows)


def gradient(model: Model) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def run(*, config: Config, rows: tuple[int, int], budget: int) -> None:
    few, many = rows
    choices = ("first", "longest", "all")
    results = [{"rows": each, "peak_mib": measure.peak(warmed, config, many, budget, each)} for each in choices]
    one, two = (gradient(step(config, few, at_once)[0](np.arange(few))) for at_once in (10**9, budget // 8))
    difference = ((one - two).norm() / one.norm()).item()
    measure.tell("together", results, budget=budget, difference_of_gradients=difference)


def main(short: bool) -> None:
    run(**(SHORT if short else FULL))


if __name__ == "__main__":
    main(measure.short(__doc__))
