"""What a step of training costs as something grows: seconds, peak memory, the fitted exponents, and a picture of them.

python -m benchmarks.growth [--short]         leaves runs/benchmarks/growth.png

One number grows at a time: tokens a step, which the loop cuts to its token budget; tokens that it encodes at once,
with the budget lifted; the length of a text, with as many tokens; classes; tasks; rows of the corpus, which lie
memory-mapped on disk as `rocl.data.tokens.pack` leaves them. The order of a pass over those rows is timed by itself.
Memory is what corpus and step take beyond the libraries, the model and its optimiser. Letters: P points.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks import made_up, measure
from rocl import pictures
from rocl.data import batches, tokens
from rocl.data.tokens import Packed
from rocl.experiment import Experiment
from rocl.models.encoder import Config
from rocl.models.heads import Model


class Point(NamedTuple):
    tokens: int = 2048  # a step
    budget: int = 8192  # tokens encoded at once
    length: int = 64  # tokens a text
    classes: int = 8
    tasks: int = 1
    rows: int = 4000  # of all tasks


AXES: dict[str, Callable[[int], Point]] = {
    "tokens a step": lambda n: Point(tokens=n),
    "tokens at once": lambda n: Point(tokens=n, budget=n),
    "length": lambda n: Point(length=n),
    "classes": lambda n: Point(classes=n),
    "tasks": lambda n: Point(tasks=n),
    "rows": lambda n: Point(rows=n),
}
GROW = {
    "tokens a step": (8192, 16384, 32768),
    "tokens at once": (2048, 4096, 8192, 16384),
    "length": (16, 64, 256, 512),
    "classes": (2, 16, 128, 1024),
    "tasks": (1, 2, 4, 8),
    "rows": (1000, 10_000, 100_000, 1_000_000),
}


def opened(folder: Path, config: Config, point: Point, rows: int) -> list[batches.Table]:
    """The tasks' tables, on texts that lie memory-mapped in the folder; they are written when first asked for."""
    rows //= point.tasks
    texts = folder / f"{rows}-{point.length}"
    if not texts.exists():
        texts.mkdir()
        tokens.store(made_up.packed(np.full(rows, point.length), config.vocabulary), texts)
    packed = Packed(*(np.load(texts / f"{name}.npy", mmap_mode="r") for name in Packed.__dataclass_fields__))
    return [made_up.table(f"task {number}", packed, point.classes) for number in range(point.tasks)]


def ordered(tables: Sequence[batches.Table], point: Point) -> Iterator[np.ndarray]:
    sizes, rows = [len(table) for table in tables], max(1, point.tokens // point.length)
    return batches.steps(sizes, seed=0, batch=rows, steps=1000, sampling=batches.proportional)


def learner(config: Config, point: Point, tables: Sequence[batches.Table]) -> Callable[..., int]:
    options = {"tasks": [table.task for table in tables], "model": Model, "objective": made_up.objective, "steps": 1}
    return partial(made_up.learner(config, tables), Experiment(name="growth", token_budget=point.budget, **options))


def step(folder: Path, config: Config, point: Point) -> Callable[[], int]:
    """A step at this point, each time on the next rows."""
    tables = opened(folder, config, point, point.rows)
    learn, order = learner(config, point, tables), ordered(tables, point)
    return lambda: learn(tables, next(order))


def first_step(folder: Path, config: Config, point: Point) -> Callable[[], int]:
    """The same after a step on one row of each task, with the corpus still to be opened."""
    few = opened(folder, config, point, point.tasks)
    learn = learner(config, point, few)
    learn(few, np.array([[number, 0] for number in range(point.tasks)]))

    def work() -> int:
        tables = opened(folder, config, point, point.rows)
        return learn(tables, next(ordered(tables, point)))

    return work


def picture(lines: Sequence[Mapping], columns: Sequence[str], up: str) -> np.ndarray:
    """Curves of a value and the ends of its bar, from the smallest to the largest size. Both axes are logarithms: what
    is as steep as the line called linear grows with the size, what does not grow stays at 0."""
    curves = {"linear": np.array([[0.0] * 4, [1.0] * 4])}
    for what in dict.fromkeys(line["what"] for line in lines):
        own = [line for line in lines if line["what"] == what]
        values = np.log([[line["size"], *(line[column] for column in columns)] for line in own])  # (P, 4)
        curves[what] = (values - values[0, [0, 1, 1, 1]]) / (values[-1, 0] - values[0, 0])
    top = max(curve[:, 1:].max() for curve in curves.values())
    curves = {what: curve / [1, top, top, top] for what, curve in curves.items()}
    return pictures.chart(curves, "size (log)", f"{up}, of the largest (log)", {0: "smallest", 1: "largest"})


def run(*, config: Config, grow: Mapping[str, Sequence[int]], rounds: int, out: Path = Path("runs/benchmarks")) -> None:
    lines, exponents = [], {}

    def add(what: str, seconds: Mapping[int, Sequence[float]], mib: Mapping[int, float | None]) -> None:
        own = [{"what": what, "size": n, **measure.told(seconds[n]), "mib": mib[n]} for n in seconds]
        fits = {f"{name}_exponent": measure.exponent(list(seconds), [o[name] for o in own]) for name in ("ms", "mib")}
        lines.extend(line | fits for line in own)
        exponents[what] = fits

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for what, sizes in grow.items():
            points = {size: AXES[what](size) for size in sizes}
            seconds = measure.timed({n: step(folder, config, points[n]) for n in points}, rounds)
            add(what, seconds, {n: measure.peak(first_step, folder, config, points[n]) for n in points})
    charts = [picture(lines, ("ms", "lowest_ms", "highest_ms"), "growth of time")]
    charts += [picture([line for line in lines if line["mib"]], ("mib", "mib", "mib"), "growth of memory")]
    orders = {size: partial(batches.proportional, [size], 0, 0, 1) for size in grow["rows"]}
    add("order of a pass", measure.timed(orders, rounds), dict.fromkeys(orders))
    width = max(chart.shape[1] for chart in charts)
    charts = [np.pad(c, ((0, 0), (0, width - c.shape[1]), (0, 0)), constant_values=255) for c in charts]
    out.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(charts)).save(out / "growth.png")
    facts = {"picture": str(out / "growth.png"), "width": config.width, "layers": config.layers, "rounds": rounds}
    measure.tell("growth", lines, exponents=exponents, **facts)


def main(short: bool) -> None:
    if short:
        run(config=made_up.SMALL, grow={what: sizes[:3] for what, sizes in GROW.items()}, rounds=2)
    else:
        run(config=made_up.MINILM, grow=GROW, rounds=5)


if __name__ == "__main__":
    main(measure.short(__doc__))
