"""What the benchmarks work on: texts of real lengths, models of random weights, and a step of training.

Letters: T tokens, B texts, R rows, C labels.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from rocl import optimizer
from rocl.data import batches
from rocl.data.corpus import Corpus
from rocl.data.task import Task
from rocl.data.tokens import Packed
from rocl.experiment import Experiment
from rocl.losses import classify
from rocl.models.encoder import Config, Encoder
from rocl.models.heads import Encoded, Model, classification_head
from rocl.predict import ready
from rocl.step import State, backward

# Tokens a text in MiniLM's pieces, cut to 512: quantiles of REDv2, LaRoSeDa and MOROCO.
QUANTILES = (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)
LENGTHS = {
    "tweets": (5, 20, 30, 45, 74, 92, 124),
    "reviews": (5, 15, 25, 49, 95, 168, 512),
    "news": (17, 205, 311, 496, 512, 512, 512),
}


def encoder_size(width: int, layers: int, heads: int, vocabulary: int = 30522) -> Config:
    """An encoder of BERT's kind, with its usual dropout."""
    return Config(
        family="bert", vocabulary=vocabulary, width=width, layers=layers, heads=heads, inner=4 * width, positions=512,
        types=2, embedding=width, padding=0, activation="gelu", epsilon=1e-12, dropout=0.1, attention_dropout=0.1,
        output_dropout=0.1, classifier_dropout=0.1,
    )  # fmt: skip


MINILM, BASE = encoder_size(384, 6, 12), encoder_size(768, 12, 12)
SMALL = encoder_size(128, 2, 4, 8000)  # for what must take seconds


def lengths(work: str, size: int, longest: int) -> np.ndarray:
    """Tokens of so many texts of a work, none longer than `longest`, (B,)."""
    drawn = np.interp(np.random.default_rng(0).random(size), QUANTILES, LENGTHS[work])
    return np.minimum(drawn.round(), longest).astype(np.int64)


def packed(lengths: np.ndarray, vocabulary: int) -> Packed:
    """Made-up texts of these lengths, one a row."""
    ids = np.random.default_rng(1).integers(5, vocabulary, lengths.sum(), dtype=np.uint16)  # (T,)
    texts, rows = batches.offsets(lengths), np.arange(len(lengths) + 1)
    return Packed(
        ids=ids, texts=texts, rows=rows, cut=np.zeros(len(lengths), bool), unknown=np.zeros(len(lengths), int)
    )


class Numbered(Sequence[str]):
    """The numbers of so many rows as their ids."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, place: int) -> str:
        return str(range(self.size)[place])


def table(name: str, texts: Packed, classes: int) -> batches.Table:
    """A task's rows with labels at random."""
    size = len(texts.rows) - 1
    names = tuple(f"label {number}" for number in range(classes))
    task = Task(name=name, corpus=Corpus(name=name, language="xx", labels=names, licence="none", read=dict))
    labels = np.zeros((size, classes), np.float32)  # (R, C)
    labels[np.arange(size), np.random.default_rng(2).integers(0, classes, size)] = 1
    return batches.Table(task, texts, {"labels": labels}, Numbered(size))


def model(config: Config, tables: Sequence[batches.Table]) -> Model:
    """Random weights of these sizes, with a head for each task."""
    torch.manual_seed(0)
    encoder = Encoder(config)
    heads = {table.task.name: classification_head(encoder, len(table.task.labels)) for table in tables}
    return ready(Model(encoder, heads))


def objective(model: Model, encoded: Encoded, batch: batches.Batch, progress: float) -> dict[str, torch.Tensor]:
    return {"loss": classify(model.heads[batch.task](encoded), batch.columns["labels"], kind="one")}


def learner(
    config: Config, tables: Sequence[batches.Table], words: type[torch.optim.Optimizer] | None = None
) -> Callable[..., int]:
    """A function (experiment, tables, pairs) -> tokens that takes a step of training as `rocl.train` does."""
    learning = model(config, tables)
    stepping = optimizer.optimizers(learning, optimizer.groups(learning, 1e-5), words)
    scaler = torch.amp.GradScaler(learning.device.type, enabled=learning.precision == torch.float16)

    def step(experiment: Experiment, tables: Sequence[batches.Table], pairs: np.ndarray) -> int:
        state = State()
        tokens = backward(experiment, learning, tables, pairs, 0, 0.5, stepping, scaler, state)
        optimizer.take(learning, stepping, scaler, experiment.clip, state.unread[-1].loss)
        return tokens

    return step
