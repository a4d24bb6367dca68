"""What an experiment is, how its file is loaded, and what makes two runs of it the same run."""

import hashlib
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from functools import cached_property, partial
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from torch import Tensor

from rocl.data.batches import Sampling, proportional
from rocl.data.task import Task
from rocl.download import UserError
from rocl.models.checkpoints import Checkpoint
from rocl.models.heads import Model


class Scale(Enum):
    """How large an experiment is; what stands behind each scale is said in experiments/scales.py."""

    SAMPLE = "sample"
    SMALL = "small"
    PAPER = "paper"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A training run, or with no objective a study: a set of needs whose scores make a table.

    `tasks`, where they depend on what was trained before, is a function of the finished needs, as `model` is:
    `done[name]` offers `.encoder()`, `.model()`, `.logits(task)`, `.scores` (see `rocl.predict.Done`).
    `objective(model, encoded, batch, progress)` returns named terms, each one number a row (R,); their sum is
    minimised, its mean taken over the rows of a step. With `together` a term may be a scalar over all rows that a
    step has of a task.
    """

    name: str
    needs: Mapping[str, "Experiment"] = field(default_factory=dict)
    tasks: Sequence[Task] | Callable[[Mapping[str, Any]], Sequence[Task]] = ()
    model: Callable[[Sequence[Task], Mapping[str, Any]], Model] | None = None
    objective: Callable[..., dict[str, Tensor]] | None = None
    together: bool = False
    seed: int | None = None  # None takes the run's
    epochs: float | None = None  # passes over as many rows as all tasks have; either this or `steps`
    steps: int | None = None
    batch: int = 32  # rows a step
    token_budget: int = 8192  # tokens encoded at once: bounds memory, changes no result
    sampling: Sampling = proportional
    learning_rate: float = 5e-5
    layer_decay: float = 1.0  # learning rate of each layer over that of the layer above (BAM: 0.9)
    warmup: float = 0.1  # share of the run
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    clip: float = 1.0  # largest norm of a step's gradient
    evaluations: int = 10  # looks at dev in a run; the best is kept

    def __post_init__(self):
        if self.objective and (self.epochs is None) == (self.steps is None):
            raise UserError(f"experiment {self.name}: give either epochs or steps")
        if self.objective and not (self.model and self.tasks):
            raise UserError(f"experiment {self.name}: an objective needs tasks and a model")
        if not self.objective and not self.needs:
            raise UserError(f"experiment {self.name}: without an objective it is a study and must list needs")


@dataclass(frozen=True, eq=False)
class Node:
    """An experiment with its seed and a place on disk: a vertex of the graph of needs."""

    experiment: Experiment
    scale: Scale
    seed: int
    needs: Mapping[str, "Node"]
    out: Path
    source: Path  # the experiment file

    @cached_property
    def values(self) -> dict:
        """All that decides the outcome but the run's seed, as JSON: numbers, names of functions, checksums, needs."""
        own = {f.name: getattr(self.experiment, f.name) for f in fields(self.experiment)}
        values = {
            name: named(value, f"{self.experiment.name}.{name}") for name, value in own.items() if name != "needs"
        }
        needs = {name: [need.title, self.experiment.needs[name].seed] for name, need in self.needs.items()}
        return {**values, "scale": self.scale.value, "needs": needs, "seed": None}

    @cached_property
    def title(self) -> str:
        """The name and eight hex digits of its values: two different experiments never share it."""
        digest = hashlib.sha256(json.dumps(self.values, sort_keys=True).encode()).hexdigest()
        return f"{self.experiment.name}-{digest[:8]}"

    @property
    def folder(self) -> Path:
        return self.out / self.scale.value / self.title / f"seed-{self.seed}"


def named(value: Any, where: str) -> Any:
    """A value as JSON that says what it is, not where it lies: tasks and checkpoints by their checksums."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Task):
        return {"task": value.name, "corpus": value.corpus.name, "digest": value.digest}
    if isinstance(value, Checkpoint):
        return {"checkpoint": value.name, "checksum": value.checksum()}
    if isinstance(value, partial):
        bound = {"arguments": value.args, **value.keywords}
        return {"function": named(value.func, where), **{k: named(v, f"{where}.{k}") for k, v in bound.items() if v}}
    if isinstance(value, FunctionType | type):
        if "<" in value.__qualname__:
            raise UserError(
                f"{where} is {value.__qualname__}: give it a name at the top of a file (or functools.partial)"
            )
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, Mapping):
        return {str(key): named(item, f"{where}.{key}") for key, item in sorted(value.items())}
    if isinstance(value, Sequence):
        return [named(item, f"{where}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    if is_dataclass(value):
        return {f.name: named(getattr(value, f.name), f"{where}.{f.name}") for f in fields(value)}
    raise UserError(
        f"{where} is a {type(value).__name__}: a run is told apart by numbers, strings, tasks and functions"
    )


def load(file: Path, scale: Scale) -> Experiment:
    """The experiment that a file's function `experiment(scale)` returns."""
    if not file.is_file():
        raise UserError(f"{file}: no such experiment file")
    file = file.resolve()
    name = f"{file.parent.name}.{file.stem}"
    if name not in sys.modules:
        sys.path.insert(0, str(file.parent.parent))  # so that files import each other as `experiments.single`
        spec = importlib.util.spec_from_file_location(name, file)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    if not callable(make := getattr(sys.modules[name], "experiment", None)):
        raise UserError(f"{file}: must define a function experiment(scale) that returns an Experiment")
    made = make(scale)
    if not isinstance(made, Experiment):
        raise UserError(f"{file}: experiment(scale) returned a {type(made).__name__}, not an Experiment")
    return made


def graph(experiment: Experiment, scale: Scale, seed: int, out: Path, source: Path) -> list[Node]:
    """The experiment and all it needs, needs first, each once; the last is the experiment itself."""
    nodes: dict[Path, Node] = {}

    def visit(experiment: Experiment, run_seed: int, above: tuple[str, ...]) -> Node:
        if experiment.name in above:
            raise UserError(f"{experiment.name} needs itself: {' needs '.join((*above, experiment.name))}")
        seed = run_seed if experiment.seed is None else experiment.seed
        needs = {name: visit(need, seed, (*above, experiment.name)) for name, need in experiment.needs.items()}
        node = Node(experiment, scale, seed, needs, out, source)
        return nodes.setdefault(node.folder, node)

    visit(experiment, seed, ())
    return list(nodes.values())
