"""What a step of training costs as something grows: seconds, peak memory, the fitted exponents, and a picture of them.

python -m benchmarks.growth [--short]         leaves runs/benchmarks/growth.png

One number grows at a time: tokens a step, which the loop cuts to its token budget; tokens that it encodes at once,
with the budget lifted; the length of a text, with as many tokens; classes; tasks; rows of the corpus, which lie
memory-mapped on disk as `rocl.data.tokens.pack` leaves them. The order of a pass over those rows is timed by itself.
Memory is what the corpus and the step take beyond the model, its optimiser and the libraries.
"""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks import made_up, measure
from rocl import pictures
from rocl.data import batches
from rocl.data.tokens import Packed
from rocl.experiment import Experiment
from rocl.losses import classify
from rocl.models.encoder import Config
from rocl.models.heads import Model
from rocl.predict import device, precision

FOLDER = Path("runs/benchmarks")


class Point(NamedTuple):
    tokens: int  # a step
    budget: int = 8192  # tokens encoded at once
    length: int = 64  # tokens a text
    classes: int = 8
    tasks: int = 1
    rows: int = 4000  # of all tasks


def axes(grow: Mapping[str, Sequence[int]], usual: int) -> dict[str, dict[int, Point]]:
    """Of everything that grows its sizes, and the point that stands for each; `usual` tokens a step elsewhere."""
    points: dict[str, Callable[[int], Point]] = {
        "tokens a step": lambda n: Point(n),
        "tokens at once": lambda n: Point(n, budget=n),
        "length": lambda n: Point(usual, length=n),
        "classes": lambda n: Point(usual, classes=n),
        "tasks": lambda n: Point(usual, tasks=n),
        "rows": lambda n: Point(usual, rows=n),
    }
    return {name: {size: points[name](size) for size in sizes} for name, sizes in grow.items()}


FULL = {
    "config": made_up.MINILM,
    "grow": {
        "tokens a step": (8192, 16384, 32768),
        "tokens at once": (2048, 4096, 8192, 16384),
        "length": (16, 32, 64, 128, 256, 512),
        "classes": (2, 16, 128, 1024),
        "tasks": (1, 2, 4, 8),
        "rows": (1000, 10_000, 100_000, 1_000_000),
    },
    "usual": 2048,
    "rounds": 5,
}
SHORT = {
    "config": made_up.SMALL,
    "grow": {
        "tokens a step": (8192, 16384),
        "tokens at once": (1024, 2048, 4096),
        "length": (16, 64, 256),
        "classes": (2, 32, 512),
        "tasks": (1, 4),
        "rows": (1000, 10_000, 100_000),
    },
    "usual": 1024,
    "rounds": 3,
}


def stored(folder: Path, rows: int, length: int, vocabulary: int) -> Packed:
    """Texts on disk, memory-mapped; written when first asked for."""
    folder = folder / f"{rows}-{length}"
    if not folder.exists():
        folder.mkdir()
        for name, array in vars(made_up.packed(np.full(rows, length), vocabulary)).items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
    return Packed(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in Packed.__dataclass_fields__))


def objective(model: Model, encoded, batch: batches.Batch, progress: float):
    return {"loss": classify(model.heads[batch.task](encoded), batch.columns["labels"], kind="one")}


def step(folder: Path, config: Config, point: Point, warm: bool = False) -> Callable[[], int]:
    """The work of one step at a point; with `warm` a small step was taken, and the corpus is still to be opened."""

    def opened(rows: int) -> list[batches.Table]:
        texts = stored(folder, rows // point.tasks, point.length, config.vocabulary)
        return [made_up.table(f"task {n}", texts, point.classes) for n in range(point.tasks)]

    def ordered(tables: Sequence[batches.Table]):
        sizes, rows = [len(table) for table in tables], max(1, point.tokens // point.length)
        return batches.steps(sizes, seed=0, batch=rows, steps=1000, sampling=batches.proportional)

    few = opened(point.tasks)
    learn = made_up.learner(config, few)
    options = {"tasks": [table.task for table in few], "model": Model, "objective": objective, "steps": 1}
    take = partial(learn, Experiment(name="growth", token_budget=point.budget, **options))
    if warm:
        take(few, np.array([[number, 0] for number in range(point.tasks)]))

        def cold() -> int:
            tables = opened(point.rows)
            return take(tables, next(ordered(tables)))

        return cold
    tables = opened(point.rows)
    order = ordered(tables)
    return lambda: take(tables, next(order))


def picture(results: Sequence[Mapping], value: str, lowest: str, highest: str, up: str) -> np.ndarray:
    """Curves from the smallest to the largest size, both logarithms over that of the whole growth in size: what grows
    with the size goes up the diagonal, what does not stays at 0."""
    curves = {}
    for name in dict.fromkeys(line["what"] for line in results):
        lines = [line for line in results if line["what"] == name and line[value]]
        if len(lines) < 2:
            continue
        first, whole = lines[0], math.log(lines[-1]["size"] / lines[0]["size"])
        curves[name] = np.array(
            [
                [math.log(line["size"] / first["size"]) / whole]
                + [math.log(line[key] / first[value]) / whole for key in (value, lowest, highest)]
                for line in lines
            ]
        )  # (P, 4)
    return pictures.chart(
        curves, "growth in size, of all of it (log)", up, {0: "smallest", 1: "largest"}, diagonal=True
    )


def run(*, config: Config, grow: Mapping[str, Sequence[int]], usual: int, rounds: int, out: Path = FOLDER) -> None:
    results, exponents = [], {}

    def add(what: str, seconds: Mapping[int, Sequence[float]], mib: Mapping[int, float | None]) -> None:
        results.extend({"what": what, "size": n, **measure.told(seconds[n]), "mib": mib[n]} for n in seconds)
        times, memory = [np.median(seconds[n]) for n in seconds], [mib[n] for n in seconds]
        exponents[what] = {
            "time": measure.exponent(list(seconds), times),
            "memory": measure.exponent(list(seconds), memory),
        }

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for what, points in axes(grow, usual).items():
            seconds = measure.timed({n: step(folder, config, point) for n, point in points.items()}, rounds)
            add(what, seconds, {n: measure.peak(step, folder, config, point, True) for n, point in points.items()})
    orders = {n: partial(batches.proportional, [n], 0, 0, 1) for n in grow.get("rows", ())}
    if orders:
        add("order of a pass", measure.timed(orders, rounds), dict.fromkeys(orders))
    for line in results:
        line |= {f"{name}_exponent": value for name, value in exponents[line["what"]].items()}
    charts = [picture(results, "ms", "lowest_ms", "highest_ms", "growth of time")]
    charts += [picture(results, "mib", "mib", "mib", "growth of memory")]
    out.mkdir(parents=True, exist_ok=True)
    width = min(chart.shape[1] for chart in charts)
    Image.fromarray(np.concatenate([chart[:, :width] for chart in charts])).save(out / "growth.png")
    print(f"{out / 'growth.png'}: both, on logarithms")
    measure.tell("growth", results, exponents=exponents, picture=str(out / "growth.png"), usual=usual, rounds=rounds)


def main(short: bool) -> None:
    run(**(SHORT if short else FULL))


if __name__ == "__main__":
    main(measure.short(__doc__))
