"""What an experiment is, how its file is loaded, and what makes two runs of it the same run."""

import hashlib
import importlib.util
import json
import math
import re
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from functools import cached_property, partial
from numbers import Integral, Real
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import Module

from rocl import command
from rocl.data.batches import Batch, Draw, Sampling, Table, proportional
from rocl.data.task import Task
from rocl.download import describe, fetch, missing, offline
from rocl.errors import UserError, hint
from rocl.models.checkpoints import Checkpoint
from rocl.models.heads import Encoded, Model

# Fields of an experiment that are numbers, and the least they may be.
NUMBERS = (("epochs", Real, 0), ("steps", Integral, 0), ("batch", Integral, 1), ("token_budget", Integral, 1))
NUMBERS += (("learning_rate", Real, 0),)


class Scale(Enum):
    """How large an experiment is; what stands behind each scale is said in experiments/scales.py."""

    SAMPLE = "sample"
    TINY = "tiny"
    SMALL = "small"
    PAPER = "paper"


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Updates that come before each step and are of some heads alone: a critic that keeps up with the encoder.

    `loss(model, pieces, progress)` is a number, over all rows of the step, or None where these say nothing: `pieces`
    are their batches, each with its vectors, in which no gradient goes back. The step itself leaves these heads as they
    are.
    """

    heads: Sequence[str]
    loss: Callable[[Model, Sequence[tuple[Batch, Encoded]], float], Tensor | None]
    steps: Callable[[float], int]  # updates before a step, by progress
    learning_rate: float  # of Adam
    after: Callable[[Module], None] | None = None  # what is done to the heads after each update: clipping


# From the tasks' gradients in the encoder, flat (P,), to the one that is taken, and numbers to be told.
Combine = Callable[[Mapping[str, Tensor], np.random.Generator], tuple[Tensor, dict[str, float]]]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A training run, or with no objective a study: a set of needs whose scores make a table.

    `tasks`, where they depend on what was trained before, is a function of the finished needs, as `model` is:
    `done[name]` offers `.encoder()`, `.model()`, `.logits(task)`, `.scores` (see `rocl.predict.Done`).
    `objective(model, encoded, batch, progress)` returns named terms, each one number a row (R,); their sum is
    minimised, its mean taken over the rows of a step. With `together` a term may be a scalar over all rows that a step
    has of a task, and the objective is given what that function keeps of the vectors (`heads.first_tokens`). `alter`
    changes a batch, still on the CPU, before it is encoded: masks. `judge` scores a table of bare text (kind "text"),
    as metrics score the others; of the task's metric more is better. A run of no steps leaves the model as it begins.
    """

    name: str
    needs: Mapping[str, "Experiment"] = field(default_factory=dict)
    tasks: Sequence[Task] | Callable[[Mapping[str, Any]], Sequence[Task]] = ()
    model: Callable[[Sequence[Task], Mapping[str, Any]], Model] | None = None
    alter: Callable[[Model, Batch, Draw], Batch] | None = None
    objective: Callable[..., dict[str, Tensor]] | None = None
    together: Callable[[Encoded], Encoded] | None = None  # what an objective over all rows needs of their vectors
    judge: Callable[[Model, Table], dict[str, float]] | None = None
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
    words: type | None = None  # optimiser of the table of words, LazyRows or one that takes what `optimizer.take` gives
    inner: Inner | None = None  # updates of some heads before each step
    combine: Combine | None = None  # what becomes of the tasks' gradients in the encoder; None adds them
    evaluations: int = 10  # looks at dev in a run; the best is kept

    def __post_init__(self):
        if not self.name or set(self.name) & set("/\\\0"):
            raise UserError(f"an experiment cannot be called {self.name!r}: a folder takes its name, choose another")
        for name, kind, least in NUMBERS:
            if (value := getattr(self, name)) is not None and not (isinstance(value, kind) and value >= least):
                what = "a whole number" if kind is Integral else "a number"
                raise UserError(f"experiment {self.name}: {name} is {value!r}: give {what}, {least} or more")
        if (self.seed or 0) < 0:
            raise UserError(f"experiment {self.name}: a seed of {self.seed}; seeds count from 0")
        if self.objective and (self.epochs is None) == (self.steps is None):
            raise UserError(f"experiment {self.name}: give either epochs or steps")
        if self.objective and not (self.model and self.tasks):
            raise UserError(f"experiment {self.name}: an objective needs tasks and a model")
        if not self.objective and not self.needs:
            raise UserError(f"experiment {self.name}: without an objective it is a study and must list needs")

    def length(self, rows: int) -> int:
        """Steps of a run over this many training rows."""
        return math.ceil(self.epochs * rows / self.batch) if self.steps is None else self.steps


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
        own = {name: value for name, value in vars(self.experiment).items() if name not in ("needs", "seed")}
        told = {n: named(value, f"{self.experiment.name}.{n}") for n, value in own.items() if value is not None}
        needs = {name: [need.title, self.experiment.needs[name].seed] for name, need in self.needs.items()}
        return {**told, "scale": self.scale.value, "needs": needs}

    @cached_property
    def title(self) -> str:
        """The name and eight hex digits of its values: two different experiments never share it."""
        digest = hashlib.sha256(json.dumps(self.values, sort_keys=True).encode()).hexdigest()
        return f"{self.experiment.name}-{digest[:8]}"

    @property
    def folder(self) -> Path:
        return self.out / self.scale.value / self.title / f"seed-{self.seed}"

    @property
    def systems(self) -> list["Node"]:
        """What a table of this experiment is about: the run itself or, of a study, the systems that it lists; the
        stages on the way to them stand aside."""
        if self.experiment.objective:
            return [self]
        return [system for need in self.needs.values() for system in need.systems]

    @cached_property
    def encoder(self) -> str:
        """Name and checksum of the pretrained encoder it starts from, itself or through its first need, and what bare
        text made of that on the way."""
        found = checkpoints_of(self.experiment)
        if not found and self.needs:
            first = next(iter(self.needs.values()))
            made = first.experiment.judge and first.experiment.steps != 0
            return f"{first.experiment.name} of {first.encoder}" if made else first.encoder
        names = {c: Path(c.name).name if Path(c.name).is_absolute() else c.name for c in found}
        return ", ".join(sorted(f"{name} {c.checksum()[:8]}" for c, name in names.items()))


def named(value: Any, where: str) -> Any:
    """A value as JSON that says what it is, not where it lies: tasks and checkpoints by their checksums."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Task):
        return {"task": value.name, "corpus": value.corpus.name, "digest": value.digest}
    if isinstance(value, Checkpoint):
        name = Path(value.name).name if Path(value.name).is_dir() else value.name
        return {"checkpoint": name, "checksum": value.checksum()}
    if isinstance(value, partial):
        bound = ({"arguments": value.args} if value.args else {}) | value.keywords
        told = {k: named(v, f"{where}.{k}") for k, v in bound.items()}
        if {"function", "arguments"} & value.keywords.keys():  # these would stand in the place of what is bound
            told = {"bound": told}
        return {"function": named(value.func, where), **told}
    if isinstance(value, FunctionType | type):
        if "<" in value.__qualname__:
            fix = "give it a name at the top of a file (or functools.partial)"
            raise UserError(f"{where} is {value.__qualname__}: {fix}")
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, Mapping):
        return {str(key): named(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence):
        return [named(item, f"{where}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape} {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    if is_dataclass(value):
        told = {f.name: named(getattr(value, f.name), f"{where}.{f.name}") for f in fields(value)}
        return {"type": named(type(value), where), "fields": told}
    why = "a run is told apart by numbers, strings, tasks and functions"
    raise UserError(f"{where} is a {type(value).__name__}: {why}")


def load(file: Path, scale: Scale) -> Experiment:
    """The experiment that a file's function `experiment(scale)` returns."""
    if not file.is_file() or file.suffix != ".py":
        beside = [str(other) for other in file.parent.glob("*.py")]
        raise UserError(f"{file}: no such experiment file{hint(str(file), beside)}")
    file = file.resolve()
    name = f"{file.parent.name}.{file.stem}"
    if name in sys.modules and Path(getattr(sys.modules[name], "__file__", None) or "").resolve() != file:
        raise UserError(f"{file}: Python has another module called {name}; rename the folder or the file")
    if name not in sys.modules:
        sys.path.insert(0, str(file.parent.parent))  # so that files import each other as `experiments.single`
        spec = importlib.util.spec_from_file_location(name, file)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except Exception as error:
            del sys.modules[name]
            raise mistake(error, file) from error
    if not callable(make := getattr(sys.modules[name], "experiment", None)):
        raise UserError(f"{file}: must define a function experiment(scale) that returns an Experiment")
    try:
        made = make(scale)
    except Exception as error:
        raise mistake(error, file) from error
    if not isinstance(made, Experiment):
        raise UserError(f"{file}: experiment(scale) returned a {type(made).__name__}, not an Experiment")
    return made


def mistake(error: Exception, file: Path) -> UserError:
    """An error raised while an experiment file was loaded, as one line that says where in it."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename}:{frame.lineno}" for frame in frames if Path(frame.filename).parent == file.parent]
    where = places[-1] if places else str(file)
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{error.filename}:{error.lineno}"
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    if isinstance(error, UserError):
        return UserError(text if "\n" in text else f"{text} ({where})")
    text = " ".join(text.split())  # in one line
    known = {f.name for kind in (Experiment, Task, Checkpoint) for f in fields(kind)}
    word = re.search(r"unexpected keyword argument '(\w+)'", text)
    return UserError(f"{where}: {type(error).__name__}: {text}{hint(word[1], sorted(known)) if word else ''}")


def changed(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """The value with every part of it that is of a kind changed: in fields, needs, lists and bound arguments."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, partial):
        keywords = {name: changed(item, kind, change) for name, item in value.keywords.items()}
        return partial(changed(value.func, kind, change), *changed(value.args, kind, change), **keywords)
    if isinstance(value, Mapping):
        return {key: changed(item, kind, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [changed(item, kind, change) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: changed(getattr(value, f.name), kind, change) for f in fields(value)})
    return value


def within(value: Any, kind: type) -> list:
    """All parts of a value that are of a kind: the tasks of an experiment and of its needs, its checkpoints."""
    found = []
    changed(value, kind, lambda part: found.append(part) or part)
    return found


def checkpoints_of(experiment: Experiment) -> list[Checkpoint]:
    """The checkpoints that an experiment names itself, those of its needs aside; the model's first."""
    others = {name: value for name, value in vars(experiment).items() if name not in ("model", "needs")}
    return within([experiment.model, others], Checkpoint)


def gather(experiment: Experiment) -> None:
    """Brings the files of all corpora and encoders of the graph here; what cannot be had is listed in one error."""
    files = missing(file for task in within(experiment, Task) for file in task.corpus.files)
    absent = []
    for checkpoint in dict.fromkeys(within(experiment, Checkpoint)):
        try:
            checkpoint.folder()
        except UserError as error:
            absent.append(f"encoder {error}")
    if not files and not absent:
        return
    by_hand = [file for file in files if offline() or not file.url]
    some = [f"{len(files)} files of corpora ({sum(file.size for file in files):,} bytes)"] * bool(files)
    what = " and ".join(some + [f"{len(absent)} encoders"] * bool(absent))
    listing = "\n".join(filter(None, [describe(files), *absent]))
    if by_hand or absent:
        why = "rocl is offline" if offline() else f"{len(by_hand) + len(absent)} of them cannot be downloaded"
        raise UserError(f"{what} are missing, and {why}: put them in place\n{listing}")
    print(f"{what} are missing and will be downloaded:\n{listing}", file=sys.stderr)
    for file in files:
        fetch(file)


def graph(experiment: Experiment, scale: Scale, seed: int, out: Path, source: Path) -> list[Node]:
    """The experiment and all it needs, needs first, each once; the last is the experiment itself."""
    gather(experiment)
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


def graphs(options: Namespace) -> list[Node]:
    """The graph of an experiment file for every seed, each node once: what the options of a command ask for."""
    experiment = load(options.file, options.scale)
    nodes = [graph(experiment, options.scale, seed, options.out, options.file) for seed in options.seeds]
    return list({node.folder: node for several in nodes for node in several}.values())


def parser(prog: str, description: str) -> command.Parser:
    """What the commands about an experiment file share: the file, the scale, the seeds and the folder of runs."""
    parser = command.Parser(prog=prog, description=description)
    parser.add_argument("file", type=Path, help="an experiment file, such as experiments/mtkd.py")
    scales = [scale.value for scale in Scale]
    parser.add_argument("--scale", choices=scales, default="sample", help="how large (default: sample)")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=int, default=1, help="of weights, order and dropout (default: 1)")
    seeds.add_argument("--seeds", metavar="1-5", help="several, one after the other, in one table")
    parser.add_argument("--out", type=Path, default="runs", metavar="DIR", help="where runs are kept (default: runs)")
    return parser


def parsed(parser: command.Parser, arguments: Sequence[str]) -> Namespace:
    """The options, with `scale` as a Scale and `seeds` as a range."""
    options = parser.parse_args(arguments)
    options.scale = Scale(options.scale)
    if not 0 <= options.seed < 2**63:
        raise UserError(f"--seed {options.seed:.9g}: seeds count from 0 and stay below 2 ** 63")
    first, _, last = (options.seeds or str(options.seed)).partition("-")
    if not (first.isdecimal() and (last or first).isdecimal() and int(first) <= int(last or first)):
        raise UserError(f"--seeds {options.seeds}: write a first and a last seed, such as 1-5")
    options.seeds = range(int(first), int(last or first) + 1)
    return options
