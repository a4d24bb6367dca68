"""Memory of a contrastive step of thousands of texts: the loop's two passes beside one pass over 256.

    python -m benchmarks.together              a table, and as the last line one JSON object

Each batch takes its step in a process of its own, whose largest resident set (on a GPU: allocated memory) is told above
that of the same process before the step. All rows of a step stand against each other (supervised contrast); what the
first pass keeps of a text is its first token's vector. Gradients of both ways are compared on the smaller batch.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from benchmarks.throughput import MINILM, table
from rocl import runs, train
from rocl.experiment import Experiment
from rocl.losses import supervised_contrastive
from rocl.models.encoder import Encoder
from rocl.models.heads import Model, first, first_tokens
from rocl.predict import device

PLAIN, LARGE = 256, 4096
BUDGET = 12_288  # tokens at once: 256 tweets


def objective(model, encoded, batch, progress):
    return {"contrast": supervised_contrastive(first(encoded), batch.columns["labels"])}


def peak() -> int:
    """Bytes, the most that this process has held so far."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def step(rows: int, budget: int) -> Callable[[], torch.Tensor]:
    """A function that takes a step and returns its gradient, flat."""
    torch.manual_seed(0)
    still = replace(MINILM, dropout=0.0, attention_dropout=0.0, output_dropout=0.0)
    model = Model(Encoder(still), {}).to(device())  # in float32, to compare gradients
    texts = table("tweets", LARGE)
    values = {"name": "together", "tasks": [texts.task], "model": Model, "objective": objective, "steps": 1}
    experiment = Experiment(**values, together=first_tokens, token_budget=budget)
    scaler = torch.amp.GradScaler(device().type, enabled=False)
    pairs = np.stack([np.zeros(rows, int), np.arange(rows)], 1)

    def take() -> torch.Tensor:
        torch.manual_seed(1)
        train.backward(experiment, model, [texts], pairs, 0, 0.5, {}, scaler, train.State())
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    return take


def measured(rows: int) -> dict[str, float]:
    """What a step of so many rows takes, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.together", str(rows)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    if sys.argv[1:] and sys.argv[1].isdecimal():  # one of its own processes
        take = step(int(sys.argv[1]), BUDGET)
        before = peak()
        take()
        return print(json.dumps({"before": before, "after": peak()}))
    found = {rows: measured(rows) for rows in (PLAIN, LARGE)}
    print(f"{'rows':>6}{'before, MB':>12}{'step, MB':>12}")
    for rows, told in found.items():
        print(f"{rows:>6}{told['before'] / 1e6:>12.0f}{(told['after'] - told['before']) / 1e6:>12.0f}")
    one, parts = (step(PLAIN, budget)() for budget in (10**9, BUDGET // 8))
    error = ((one - parts).norm() / one.norm()).item()
    print(f"gradient of {PLAIN} rows in one pass and in two: relative difference {error:.1e}")
    print(json.dumps({"bytes": found, "difference": error, **runs.environment()}))


if __name__ == "__main__":
    main()
