"""From packed rows to batches: whose turn it is, which rows a step takes, and how a step is cut to fit memory.

There is no padding: a batch is a row of tokens and the places where its texts begin. The order of tasks and rows
is a function of the seed and the step, so a resumed run counts instead of remembering.

Letters: T tokens in the batch, B texts, R rows, C labels.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rocl.data.stored import Ids
from rocl.data.task import Task
from rocl.data.tokens import Packed, Tokenizer, pack


@dataclass(frozen=True)
class Batch:
    """Rows of one task, ready for the encoder."""

    task: str
    kind: str  # of labels: "one" or "many" a row
    ids: Tensor  # (T,) int64
    starts: Tensor  # (B + 1,) int64, where texts begin among the tokens
    rows: Tensor  # (R + 1,) int64, where rows begin among the texts
    lengths: list[int]  # tokens of each text, here and not on a device
    columns: dict[str, Tensor]  # each (R, ...); "labels" is the gold as 0/1 (R, C) float32
    row_ids: list[str]
    tokens: Mapping[str, Tensor] = field(default_factory=dict)  # each (T,): what `alter` says of them

    def to(self, device: torch.device) -> "Batch":
        """The same on the device. From pinned memory a GPU copies on its own, and nobody waits."""

        def sent(x: Tensor) -> Tensor:
            leaves = device.type == "cuda" and x.device.type == "cpu"
            return (x.contiguous().pin_memory() if leaves else x).to(device, non_blocking=True)

        moved = {name: sent(getattr(self, name)) for name in ("ids", "starts", "rows")}
        for name in ("columns", "tokens"):
            moved[name] = {key: sent(column) for key, column in getattr(self, name).items()}
        return replace(self, **moved)


@dataclass(frozen=True)
class Table:
    """The rows of one split of a task as numbers: tokens, and a column for everything known about a row."""

    task: Task
    packed: Packed
    columns: dict[str, np.ndarray]  # each (rows, ...)
    ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens a row, (rows,)."""
        return np.diff(self.packed.texts[self.packed.rows])

    def batch(self, rows: np.ndarray) -> Batch:
        """The batch of these rows, in this order."""
        packed = self.packed
        texts = spans(packed.rows[rows], packed.rows[rows + 1])  # (B,)
        tokens = spans(packed.texts[texts], packed.texts[texts + 1])  # (T,)
        lengths = packed.texts[texts + 1] - packed.texts[texts]
        return Batch(
            task=self.task.name,
            kind=self.task.kind,
            ids=torch.from_numpy(packed.ids[tokens].astype(np.int64)),
            starts=torch.from_numpy(offsets(lengths)),
            rows=torch.from_numpy(offsets(packed.rows[rows + 1] - packed.rows[rows])),
            lengths=lengths.tolist(),
            columns={name: torch.from_numpy(column[rows]) for name, column in self.columns.items()},
            row_ids=[self.ids[row] for row in rows],
        )

    def lengths_of(self, rows: np.ndarray) -> np.ndarray:
        """Tokens of each of these rows, without a look at the others."""
        texts = self.packed.texts
        return texts[self.packed.rows[rows + 1]] - texts[self.packed.rows[rows]]

    def by_length(self, rows: np.ndarray) -> np.ndarray:
        """The rows, shortest first."""
        return rows[np.argsort(self.lengths_of(rows), kind="stable")]

    def cut(self, rows: np.ndarray, budget: int) -> Iterator[np.ndarray]:
        """The rows, shortest first, in parts of at most `budget` tokens (or of one row that is longer)."""
        rows = self.by_length(rows)
        start, tokens = 0, 0
        for place, length in enumerate(self.lengths_of(rows)):
            if place > start and tokens + length > budget:
                yield rows[start:place]
                start, tokens = place, 0
            tokens += length
        yield rows[start:]


def shares(lengths: np.ndarray, ranks: int) -> np.ndarray:
    """Which of several processes takes each row, (rows,): the first one the first rows and so on, each about as many
    tokens."""
    return (2 * np.cumsum(lengths) - lengths) * ranks // (2 * np.sum(lengths))


def joined(parts: Sequence[Batch]) -> Batch:
    """Batches of any tasks as one for the encoder, which asks for no columns."""
    if len(parts) == 1:
        return parts[0]
    lengths = torch.cat([part.starts.diff() for part in parts])
    texts = torch.cat([part.rows.diff() for part in parts])
    starts, rows = (torch.nn.functional.pad(counts.cumsum(0), (1, 0)) for counts in (lengths, texts))
    return Batch(
        task="+".join(part.task for part in parts),
        kind="",
        ids=torch.cat([part.ids for part in parts]),
        starts=starts,
        rows=rows,
        lengths=[length for part in parts for length in part.lengths],
        columns={},
        row_ids=[row_id for part in parts for row_id in part.row_ids],
    )


def twice(batch: Batch) -> Batch:
    """Every text of a row two times, one after the other: two passes, each with its own dropout."""
    begins, ends = (np.repeat(ends.numpy(), 2) for ends in (batch.starts[:-1], batch.starts[1:]))
    places = torch.from_numpy(spans(begins, ends))  # (2 T,)
    return replace(
        batch,
        ids=batch.ids[places],
        starts=torch.from_numpy(offsets(ends - begins)),
        lengths=(ends - begins).tolist(),
        rows=2 * batch.rows,
        tokens={name: column[places] for name, column in batch.tokens.items()},
    )


Draw = Callable[[int], Tensor]  # the n-th of a batch's random numbers for each of its tokens, (T,) in [0, 1)


def uniforms(batch: Batch, seed: int, step: int, number: int) -> Tensor:
    """Random numbers in [0, 1), one a token (T,): each a function of seed, step, the row's id and its place in the row,
    so that they do not depend on what else is in the batch. (SplitMix64, Steele et al. 2014.)"""
    lengths = batch.starts[batch.rows].diff().numpy()  # (R,) tokens a row
    keys = np.array([zlib.crc32(f"{seed} {step} {number} {row_id}".encode()) for row_id in batch.row_ids], np.uint64)
    places = np.arange(lengths.sum()) - np.repeat(offsets(lengths)[:-1], lengths)  # (T,)
    x = ((np.repeat(keys, lengths) << np.uint64(32)) + places.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return torch.from_numpy(((x ^ (x >> np.uint64(31))) >> np.uint64(40)).astype(np.float32) / 2**24)  # (T,)


def offsets(lengths: np.ndarray) -> np.ndarray:
    """Where each of these stretches begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def spans(begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """All numbers from each begin to before its end, one after the other."""
    lengths = ends - begins
    shift = np.repeat(begins - offsets(lengths)[:-1], lengths)
    return np.arange(lengths.sum()) + shift


def proportions(sizes: Sequence[int], exponent: float) -> np.ndarray:
    """Task shares in proportion to size ** exponent (BAM 2019, section 3.2): 1 as they are, 0 all alike."""
    weights = np.asarray(sizes, float) ** exponent
    return weights / weights.sum()


def apportion(shares: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers in these shares that sum to `total`, by largest remainder."""
    counts = np.floor(shares * total).astype(int)
    rest = np.argsort(counts - shares * total, kind="stable")[: total - counts.sum()]
    counts[rest] += 1
    return counts


Sampling = Callable[[Sequence[int], int, int, int], np.ndarray]


def proportional(
    sizes: Sequence[int], seed: int, number: int, passes: int, *, exponent: float = 0.75, last: float | None = None
) -> np.ndarray:
    """Pass `number` of `passes` as (task, row) pairs, (sum of sizes, 2), tasks mixed by `size ** exponent`.

    Every task goes through its rows in shuffled order, each row once before any row again, and goes on in the next
    pass where it stopped. With `last` the exponent moves in equal steps from `exponent` in the first pass to `last`
    in the last one, and stays there for what is left over (annealed sampling, PALs 2019, section 4.2).
    """
    total = sum(sizes)
    exponents = np.linspace(exponent, exponent if last is None else last, passes)
    exponents = exponents[np.minimum(np.arange(number + 1), passes - 1)]
    counts = np.stack([apportion(proportions(sizes, e), total) for e in exponents])  # (passes, tasks)
    begun = counts[:number].sum(0)
    pairs = np.empty((total, 2), np.int64)
    pairs[:, 0] = np.random.default_rng([seed, number]).permutation(np.repeat(np.arange(len(sizes)), counts[number]))
    for task, size in enumerate(sizes):
        first, last, size = begun[task], begun[task] + counts[number][task], max(size, 1)
        orders = [shuffled(seed, task, k, size) for k in range(first // size, -(-last // size))]
        pairs[pairs[:, 0] == task, 1] = np.concatenate([pairs[:0, 1], *orders])[first % size :][: last - first]
    return pairs


@lru_cache(maxsize=64)
def shuffled(seed: int, task: int, number: int, size: int) -> np.ndarray:
    """The `number`-th order of a task's rows."""
    return np.random.default_rng([seed, task, number, 1]).permutation(size)


def steps(
    sizes: Sequence[int], *, seed: int, batch: int, steps: int, sampling: Sampling, start: int = 0
) -> Iterator[np.ndarray]:
    """The (task, row) pairs of each step from `start` on, (batch, 2); a step may reach over the end of a pass."""
    total = sum(sizes)
    passes = max(1, round(steps * batch / total))  # what goes beyond them is a few rows
    order = lru_cache(maxsize=2)(lambda number: sampling(sizes, seed, number, passes))
    for step in range(start, steps):
        begin, end = step * batch, (step + 1) * batch
        parts = [order(n)[max(begin - n * total, 0) : end - n * total] for n in range(begin // total, -(-end // total))]
        yield np.concatenate(parts)


def table(task: Task, split: str, tokenizer: Tokenizer, cache: Path | None) -> Table:
    """The rows of a split of a task: tokens, gold labels as 0/1 and, of training rows, the task's own columns."""
    rows = task.rows(split)
    columns = {"labels": task.gold(split).astype(np.float32)}
    if split == "train":
        columns |= {name: np.asarray(column) for name, column in task.columns.items()}
    return Table(task, pack(rows, tokenizer, task.max_length, cache), columns, Ids(rows))
