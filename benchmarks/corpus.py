"""A corpus of your own from its file to batches, as it grows: seconds of each part, and peak memory of the whole.

python -m benchmarks.corpus [--short]

Texts are made up of the bundled vocabulary's words, of the lengths of tweets, in JSON lines with two labels. A fresh
process reads and checks them, names the task by its digest, counts labels and copies, tokenises, opens the tokens again
as a second start does, draws the order of a pass and packs a thousand batches. Memory is what that takes beyond the
libraries.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import made_up, measure
from benchmarks.data import TOKENIZER
from rocl.data import batches, tokens
from rocl.data.files import files
from rocl.data.statistics import statistics
from rocl.data.task import Task

FULL, SHORT = (1_000_000, 10_000_000, 100_000_000), (100_000, 1_000_000)
WORDS = 20_000  # lengths are drawn for so many texts, which come again with other words


def written(folder: Path, size: int) -> Path:
    """JSON lines of about so many tokens, and ten rows each for dev and test."""
    have = tokens.tokenizer(TOKENIZER).backend.get_vocab()
    words = np.array(sorted(piece for piece in have if piece.isalpha() and len(piece) > 2))
    lengths = made_up.lengths("tweets", WORDS, 128)
    rows, random = int(size / lengths.mean()), np.random.default_rng(0)
    for split, count in (("dev", 10), ("test", 10), ("train", rows)):
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as out:
            for number in range(count):
                text = " ".join(words[random.integers(0, len(words), max(1, lengths[number % WORDS] - 2))])
                out.write(json.dumps({"text": text, "label": "ab"[number % 2]}) + "\n")
    return folder / "{split}.jsonl"


def opened(folder: Path) -> Callable[[], None]:
    """The work of a process that learns from this corpus; it leaves its seconds in times.json."""

    def work() -> None:
        moments, found = [measure.clock()], {}

        def told(part: str) -> None:
            moments.append(measure.clock())
            found[part] = moments[-1] - moments[-2]

        task = Task(name="large", corpus=files(folder / "{split}.jsonl", language="xx"))
        rows = task.rows("train")
        told("read and check")
        task.digest  # noqa: B018  it is computed when asked for
        told("digest")
        statistics(task)
        told("statistics")
        tokenizer = tokens.tokenizer(TOKENIZER)
        pack = partial(tokens.pack, rows, tokenizer, task.max_length, folder / "tokens")
        pack()
        told("tokenise")
        pack()
        told("open again")
        table = batches.table(task, "train", tokenizer, folder / "tokens")
        told("labels")
        order = batches.steps([len(table)], seed=0, batch=32, steps=1000, sampling=batches.proportional)
        first = next(order)
        told("order of a pass")
        seen = sum(len(table.batch(pairs[:, 1]).ids) for pairs in (first, *order))
        told("1,000 batches")
        found |= {"tokens": int(table.lengths.sum()), "rows": len(table), "of batches": seen}
        (folder / "times.json").write_text(json.dumps(found))

    return work


def run(sizes: Sequence[int]) -> None:
    results = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            written(folder, size)
            mib = measure.peak(opened, folder)
            found = json.loads((folder / "times.json").read_text())
            head = {"tokens": found.pop("tokens"), "rows": found.pop("rows"), "peak_mib": mib}
            found.pop("of batches")
            results.append(head | {f"{part.replace(' ', '_')}_s": seconds for part, seconds in found.items()})
    sizes, peaks = ([line[column] for line in results] for column in ("tokens", "peak_mib"))
    measure.tell("corpus", results, memory_exponent=measure.exponent(sizes, peaks))


def main(short: bool) -> None:
    run(SHORT if short else FULL)


if __name__ == "__main__":
    main(measure.short(__doc__))
