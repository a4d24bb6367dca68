"""The folder of a run: who holds it, what was run, checkpoints that survive a kill, metrics, and the mark of its end.

source/               rocl and the experiment's folder as they were
run.json              values, seed, versions, git state, command, code digest
data.json             statistics of every task
metrics.jsonl         one line a look: losses while training, scores on dev, scores on test
clock.json            seconds of work, over all interruptions
checkpoints/          <step>.safetensors (weights, moments, random state) with <step>.json (progress, sha256)
tensorboard/          the same numbers as pictures
predictions/          <task>-<split>.jsonl: id, gold, predicted, probabilities
model/                a Hugging Face folder, or one a task
done                  the scores; written last
"""

import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import rocl
from rocl import disk, ranks
from rocl.errors import UserError

PACKAGE = Path(rocl.__file__).parent
# What no curve is drawn of.
DETAIL = re.compile(r"/(precision|recall|support|redv2_authors)/|/(micro_precision|micro_recall|low|high)$")
BY_LABEL = re.compile(r"^(dev|test)/(.*)/f1/")  # these make a group of their own
KEPT = 2  # checkpoints: the last, and the one before in case it is damaged


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table, a line a row."""
    rows = [[" ".join(str(cell).split()).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


class Held(UserError):
    """Another process trains in the folder."""


@contextmanager
def held(folder: Path):
    """The folder is this process's alone; a second one gets `Held`, with the holder's process id."""
    folder.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(folder / "lock"), folder / "lock.pid"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pid = holder.read_text() if holder.exists() else "unknown"
        raise Held(f"{folder} is being trained by process {pid}") from None
    try:
        holder.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


def beside(experiments: Path) -> list[Path]:
    """The experiment files of a folder, without the dangling links that editors lock an open file with."""
    return [file for file in experiments.glob("*.py") if file.is_file()]


@cache
def code(experiments: Path) -> str:
    """Hex digest of rocl's own source and of the experiment files beside the one that runs."""
    files = sorted(PACKAGE.rglob("*.py")) + sorted(beside(experiments))
    return hashlib.sha256(b"".join(disk.digest(file).encode() for file in files)).hexdigest()[:16]


def keep_source(folder: Path, experiments: Path) -> None:
    """Copies of the code as it is now, for whoever asks later what made a number."""
    shutil.rmtree(folder / "source", ignore_errors=True)
    for source, name in ((PACKAGE, "rocl"), (experiments, "experiments")):
        for file in source.rglob("*.py") if source == PACKAGE else beside(source):
            copy = folder / "source" / name / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def environment() -> dict[str, Any]:
    """Versions, device, threads, command and git state, for the record."""
    packages = ("torch", "tokenizers", "safetensors", "numpy", "scikit-learn", "tensorboard")
    return {
        "rocl": rocl.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "ranks": ranks.world(),
        "command": _command(),
        "git": _git("rev-parse", "HEAD"),
        "git_changes": _git("status", "--porcelain", "--untracked-files=no"),
    }


def _command() -> str:
    """The command that runs, as it is typed; jobs decide how many threads a run has."""
    file, *arguments = Path(sys.argv[0]), *sys.argv[1:]
    start = ["-m", f"rocl.{file.stem}"] if file.parent.name == "rocl" else [str(file)]
    jobs = [f"ROCL_JOBS={os.environ['ROCL_JOBS']}"] if "ROCL_JOBS" in os.environ else []
    return shlex.join([*jobs, "python", *start, *arguments])


def _processor() -> str:
    """The CPU's name, which Python does not know on Linux."""
    file = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)", file.read_text() if file.exists() else "", re.M)
    return names[0] if names else platform.processor() or platform.machine()


def _git(*command: str) -> str | None:
    """What git says about rocl's own checkout; None where there is none."""
    try:
        done = subprocess.run(["git", "-C", str(PACKAGE), *command], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """A checkpoint counts from the moment its JSON stands, which is after its tensors are safely on disk.

    `state` may name under "best" a file of weights beside it; that file stays as long as a checkpoint speaks of it.
    """
    path = folder / f"{step:08d}.safetensors"
    write_tensors(path, tensors)
    files = {name: disk.digest(folder / name) for name in (path.name, state.get("best")) if name}
    disk.write_json(path.with_suffix(".json"), {"files": files, **state})
    kept = sorted(folder.glob("*.json"))[-KEPT:]
    names = {name for file in kept for name in (file.name, *disk.read_json(file)["files"])}
    for file in folder.iterdir():
        if file.name not in names:
            file.unlink()


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    with disk.whole(path) as part:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, part)


def latest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and state of the newest checkpoint that is whole; a damaged one is told and passed over."""
    for path in sorted(folder.glob("*.json"), reverse=True):
        try:
            state = disk.read_json(path)
            for name, checksum in state["files"].items():
                if disk.digest(folder / name) != checksum:
                    raise ValueError(f"the checksum of {name} differs")
            return load_file(path.with_suffix(".safetensors")), state
        except (OSError, UserError, ValueError, KeyError, TypeError, SafetensorError) as error:
            print(f"{path}: this checkpoint is damaged ({error}); going back to the one before", file=sys.stderr)
            path.unlink()
    return None


class Log:
    """Numbers by step, to metrics.jsonl and, but for details, to TensorBoard; those after the step that a run goes on
    from are dropped from both."""

    def __init__(self, folder: Path, size: int, step: int):
        from torch.utils.tensorboard import SummaryWriter  # half a second that only training needs

        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "metrics.jsonl"
        self.path.touch()
        os.truncate(self.path, size)
        self.file = self.path.open("a", encoding="utf-8")
        for events in (folder / "tensorboard").glob("events.*.from-*"):  # sessions whose every event is told anew
            if int(events.name.rpartition("-")[2]) >= step and (step or not size):
                events.unlink()
        purge = step + 1 if step else None
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=purge, filename_suffix=f".from-{step}")

    def write(self, step: int, values: Mapping[str, float], clock: Mapping[str, float] | None = None) -> None:
        """One line; `values` are a function of code, data and seed, `clock` holds what depends on the machine."""
        self.file.write(json.dumps({"step": step, **values, "clock": dict(clock or {})}) + "\n")
        for name, value in {**values, **(clock or {})}.items():
            if not DETAIL.search(name):
                self.board.add_scalar(BY_LABEL.sub(r"label_f1/\1/\2/", name), value, step)

    def size(self) -> int:
        """Bytes written so far, all of them on disk."""
        self.file.flush()
        os.fsync(self.file.fileno())
        return self.path.stat().st_size

    def close(self) -> None:
        self.file.close()
        self.board.close()
