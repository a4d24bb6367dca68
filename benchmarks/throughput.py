"""Real tokens a second of the hot loop: what `rocl.train` does in a step, on made-up texts of real lengths.

    python benchmarks/throughput.py            a table, and as the last line one JSON object

An encoder of all-MiniLM-L6-v2's size with new weights trains a classifier on 32 texts a step, everything included:
order, packing, forward, backward, clipping, AdamW. Padding does not count because there is none. Works are timed in
turns, so that a machine that slows down slows all of them; the median of the rounds is told with its spread.
"""

import json
import statistics
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from rocl import optimizer, runs
from rocl.data import batches
from rocl.data.corpus import Corpus
from rocl.data.task import Task
from rocl.data.tokens import Packed
from rocl.experiment import Experiment
from rocl.losses import classify
from rocl.models.encoder import Config, Encoder
from rocl.models.heads import Model, classification_head
from rocl.predict import device, outputs, ready
from rocl.step import State, backward

# Tokens a text in MiniLM's pieces: quantiles 0, .1, .25, .5, .75, .9, 1 of REDv2, LaRoSeDa and MOROCO, cut to 128.
LENGTHS = {
    "tweets": (5, 20, 30, 45, 74, 91, 124),
    "reviews": (5, 18, 28, 49, 91, 128, 128),
    "news": (20, 128, 128, 128, 128, 128, 128),
}
ROWS, JUDGED, STEPS, ROUNDS, WARM = 2048, 384, 12, 5, 3
MINILM = Config(
    family="bert", vocabulary=30522, width=384, layers=6, heads=12, inner=1536, positions=512, types=2, embedding=384,
    padding=0, activation="gelu", epsilon=1e-12, dropout=0.1, attention_dropout=0.1, output_dropout=0.1,
    classifier_dropout=0.1,
)  # fmt: skip


def table(work: str, size: int = ROWS) -> batches.Table:
    """Made-up texts with the lengths of a real corpus."""
    draw = np.random.default_rng(0)
    lengths = np.interp(draw.random(size), (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1), LENGTHS[work]).round().astype(np.int64)
    ids = draw.integers(1000, 30000, lengths.sum()).astype(np.uint16)
    packed = Packed(
        ids=ids,
        texts=batches.offsets(lengths),
        rows=np.arange(size + 1),
        cut=np.zeros(size, bool),
        unknown=np.zeros(size, int),
    )
    corpus = Corpus(name=work, language="xx", labels=("a", "b"), licence="none", read=dict)
    labels = np.eye(2, dtype=np.float32)[draw.integers(0, 2, size)]
    return batches.Table(Task(name=work, corpus=corpus), packed, {"labels": labels}, [str(n) for n in range(size)])


def objective(model, encoded, batch, progress):
    return {"loss": classify(model.heads[batch.task](encoded), batch.columns["labels"], kind="one")}


class Work:
    """One encoder with its optimiser on one kind of texts."""

    def __init__(self, name: str):
        self.table, self.judged = table(name), table(name, JUDGED)
        encoder = Encoder(MINILM)
        self.model = ready(Model(encoder, {name: classification_head(encoder, 2)}))
        self.experiment = Experiment(name=name, tasks=[self.table.task], model=Model, objective=objective, steps=1)
        self.adamw = optimizer.adamw(optimizer.groups(self.model, 1e-5))
        self.scaler = torch.amp.GradScaler(device().type, enabled=self.model.precision == torch.float16)
        self.order = batches.steps([ROWS], seed=0, batch=32, steps=10**6, sampling=batches.proportional)
        self.train(WARM)

    def train(self, steps: int) -> float:
        """Tokens a second over so many steps."""
        begun, tokens = clock(), 0
        for pairs in islice(self.order, steps):
            tokens += backward(self.experiment, self.model, [self.table], pairs, 1, 0.5, {}, self.scaler, State())
            self.scaler.unscale_(self.adamw)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.scaler.step(self.adamw)
            self.scaler.update()
            self.adamw.zero_grad()
        return tokens / (clock() - begun)

    def infer(self) -> float:
        begun = clock()
        outputs(self.model, self.judged, self.model.heads[self.judged.task.name])
        return self.judged.lengths.sum() / (clock() - begun)


def clock() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    works = {name: Work(name) for name in LENGTHS}
    rates: dict[str, list[float]] = {f"{name} {what}": [] for name in works for what in ("training", "inference")}
    for _ in range(ROUNDS):
        for name, work in works.items():
            rates[f"{name} training"].append(work.train(STEPS))
            rates[f"{name} inference"].append(work.infer())
    print(f"{'work':<20}{'tokens/s':>10}{'lowest':>10}{'highest':>10}")
    for name, values in rates.items():
        print(f"{name:<20}{statistics.median(values):>10.0f}{min(values):>10.0f}{max(values):>10.0f}")
    facts = runs.environment()
    facts |= {"precision": str(works["tweets"].model.precision), "file": Path(__file__).name}
    print(json.dumps({"tokens_per_second": {n: round(statistics.median(v)) for n, v in rates.items()}, **facts}))


if __name__ == "__main__":
    main()
