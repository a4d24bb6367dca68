"""Proves that a graph killed at any stage, even while it writes, ends with the bits of one that nobody stopped."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from forks import forked

from rocl import command, disk, finish, interrupts, predict, runs, train
from rocl.data import tokens

FILE = Path(__file__).parent / "tiny_mtkd.py"


def start(out: Path) -> int:
    return command.run(train.main, [str(FILE), "--out", str(out)])


def in_child(action) -> int:
    """The wait status of a forked child that does this: a kill must not end the tests."""

    def silent() -> int:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return action()

    return os.waitpid(forked(silent), 0)[1]


def outcome(out: Path) -> dict[str, str]:
    """What the nodes of the graph leave, by file; of metrics all but the clock."""
    files = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            files[name] = json.dumps([{k: v for k, v in line.items() if k != "clock"} for line in lines])
        elif path.is_file() and (
            path.name in ("weights.safetensors", "done") or path.parent.name in ("predictions", "outputs", "model")
        ):
            files[name] = disk.digest(path)
    return files


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the graph ends with when nothing stops it."""
    folder = tmp_path_factory.mktemp("whole")
    os.environ["TINY_ENCODER"] = str(folder / "encoder")
    assert in_child(lambda: start(folder / "runs")) == 0
    expected = outcome(folder / "runs")
    assert sum(name.endswith("done") for name in expected) == 4
    return expected


# Where the graph is killed: module, function, at which of its calls, and whether before or after the call's work.
MOMENTS = {
    "while the first texts are tokenised": (tokens, "_join", 1, "before"),
    "at the start": (finish, "describe", 1, "after"),
    "in a step of the twin": (train, "backward", 7, "before"),
    "with a checkpoint half written": (runs, "write_tensors", 2, "before"),
    "between a checkpoint's tensors and its JSON": (runs, "write_tensors", 3, "after"),
    "after the best weights are written, before a checkpoint names them": (train, "evaluate", 3, "after"),
    "between scores and Hugging Face folder": (finish, "write_predictions", 3, "after"),
    "before a run is marked as done": (finish, "project", 2, "after"),
    "while soft labels are made": (predict, "outputs", 2, "before"),
    "in a step of the student": (train, "backward", 36, "after"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_graph_ends_with_the_same_bits(tmp_path, whole, moment):
    module, name, call, side = MOMENTS[moment]

    def dies() -> int:
        original, calls = getattr(module, name), []

        def deadly(*arguments, **words):
            calls.append(name)
            if len(calls) == call and side == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*arguments, **words)
            if len(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(module, name, deadly)
        train.PATIENCE = 0.02
        return start(tmp_path)

    assert os.WTERMSIG(in_child(dies)) == signal.SIGKILL, "the moment never came"
    assert in_child(lambda: start(tmp_path)) == 0
    assert outcome(tmp_path) == whole


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_step_saves_and_exits(tmp_path, whole, number, code):
    def stops() -> int:
        original, calls = train.backward, []

        def signalled(*arguments):
            calls.append(1)
            if len(calls) == 15:
                os.kill(os.getpid(), number)
            return original(*arguments)

        train.backward = signalled
        return start(tmp_path)

    assert os.waitstatus_to_exitcode(in_child(stops)) == code
    (checkpoint,) = [disk.read_json(path)["state"] for path in tmp_path.rglob("checkpoints/*5.json")]
    assert checkpoint["step"] == 5  # the tenth ended the twin, the fifteenth is the fifth of the next run
    assert in_child(lambda: start(tmp_path)) == 0
    assert outcome(tmp_path) == whole


def test_a_signal_outside_the_loop_ends_at_once(monkeypatch):
    def slow(arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("went on")

    assert command.run(slow, []) == 143
    interrupts.install()
    with pytest.raises(interrupts.Interrupted):
        with interrupts.held():
            os.kill(os.getpid(), signal.SIGINT)
            reached = True
    assert reached


def test_two_processes_share_a_graph_and_one_goes_on_alone(tmp_path, whole, capfd):
    """The second finds the first in the middle of a run, takes another, and when the first is killed its run too."""
    begun = tmp_path / "begun"

    def waits() -> int:
        original = train.backward

        def stuck(*arguments):
            if arguments[-1].step == 5 and len(list(tmp_path.rglob("done"))) == 1:
                begun.touch()
                signal.pause()
            return original(*arguments)

        train.backward = stuck
        start(tmp_path)
        return 70

    first = forked(waits)
    while not begun.exists():
        assert os.waitpid(first, os.WNOHANG) == (0, 0)
        time.sleep(0.05)

    def helps() -> int:
        original = train.attempt

        def spied(run) -> str:
            holder = original(run)
            if holder and len(list(tmp_path.rglob("done"))) == 2:  # the twin, and the specialist that was left
                os.kill(first, signal.SIGKILL)
            return holder

        train.attempt = spied
        return start(tmp_path)

    code = in_child(helps)
    if code:
        os.kill(first, signal.SIGKILL)
    assert code == 0
    assert capfd.readouterr().err.count(f"is being trained by process {first}\n") == 1
    assert os.WTERMSIG(os.waitpid(first, 0)[1]) == signal.SIGKILL
    assert outcome(tmp_path) == whole
