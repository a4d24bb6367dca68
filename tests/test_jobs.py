"""Proves that ROCL_JOBS trains runs of a graph side by side, to the same bits, and that helpers end with the first."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

from rocl import disk, jobs, ranks, runs, train
from rocl.errors import UserError

TESTS = Path(__file__).parent
LONGEST = 120  # seconds; what hangs is a failure

# Two runs whose every first step waits until the other run has begun as well.
PAIR = """
import time
from functools import partial
from pathlib import Path

import tiny
import tiny_mtkd
from rocl.experiment import Experiment


def met(model, encoded, batch, progress, *, own, other):
    Path(own).touch()
    while not Path(other).exists():
        time.sleep(0.01)
    return tiny_mtkd.gold(model, encoded, batch, progress)


def experiment(scale):
    folder = Path(__file__).parent
    start = partial(tiny_mtkd.fresh, checkpoint=tiny.checkpoint(folder / "encoder"))
    values = dict(steps=STEPS, batch=16, learning_rate=1e-3, evaluations=2, model=start, tasks=[tiny.task("one")])
    needs = {}
    for own, other in (("left", "right"), ("right", "left")):
        objective = partial(met, own=str(folder / own), other=str(folder / other))
        needs[own] = Experiment(name=own, objective=objective, **values)
    return Experiment(name="pair", needs=needs)
"""


def start(file: Path, jobs: int, **options) -> subprocess.Popen:
    line = [sys.executable, "-m", "rocl.train", str(file), "--out", str(file.parent / "runs")]
    place = os.environ | {"ROCL_JOBS": str(jobs), "PYTHONPATH": os.pathsep.join((str(TESTS.parent), str(TESTS)))}
    return subprocess.Popen(line, env=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def pair(folder: Path, steps: int) -> Path:
    file = folder / "pair.py"
    file.write_text(PAIR.replace("STEPS", str(steps)))
    return file


def holders(out: Path) -> dict[str, int]:
    return {file.parts[-3].split("-")[0]: int(file.read_text()) for file in out.rglob("lock.pid")}


def helper_of(first: subprocess.Popen, folder: Path) -> int:
    """The process id of the helper, once it and the first are in the middle of their runs."""
    until = time.monotonic() + LONGEST
    while not (folder / "left").exists() or not (folder / "right").exists():
        assert first.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    (helper,) = set(holders(folder / "runs").values()) - {first.pid}
    return helper


def test_two_runs_that_wait_for_each_other_come_to_their_end(tmp_path):
    first = start(pair(tmp_path, 3), jobs=2)
    out, err = first.communicate(timeout=LONGEST)
    assert first.returncode == 0, err
    by = holders(tmp_path / "runs")
    assert first.pid in by.values() and by["left"] != by["right"]
    assert "left" in out and "right" in out and "ended early" not in err
    records = [disk.read_json(file)["environment"] for file in (tmp_path / "runs").rglob("run.json")]
    assert len(records) == 2 and all(each["command"].startswith("ROCL_JOBS=2 python") for each in records)


def test_a_graph_by_two_jobs_has_the_bits_of_one(tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_ENCODER", str(tmp_path / "encoder"))
    tiny.checkpoint(tmp_path / "encoder")
    ended = {}
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        file = folder / "mtkd.py"
        file.write_text("from tiny_mtkd import experiment  # noqa: F401\n")
        first = start(file, number)
        assert first.wait(LONGEST) == 0, first.stderr.read()
        ended[number] = {f.parts[-3]: disk.read_json(f)["sha256"] for f in folder.rglob("seed-1/done")}
    assert len(ended[1]) == 4 and ended[1] == ended[2]


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_helpers_end_with_the_first_and_leave_a_checkpoint(tmp_path, number, code):
    out = tmp_path / "runs"
    first = start(pair(tmp_path, 1_000_000), jobs=2, start_new_session=True)
    helper = helper_of(first, tmp_path)
    time.sleep(0.2)  # some steps
    first.send_signal(number)  # to it alone
    assert first.wait(LONGEST) == code
    until = time.monotonic() + LONGEST
    (folder,) = [f.parent for f in out.rglob("lock.pid") if int(f.read_text()) == helper]
    while True:
        try:
            with runs.held(folder):
                break
        except runs.Held:
            assert time.monotonic() < until
            time.sleep(0.05)
    assert list(folder.glob("checkpoints/*.json")), "the helper saved nothing"


def test_what_fails_in_a_helper_is_told_once_by_the_first(tmp_path):
    file = pair(tmp_path, 3)
    text = file.read_text().replace(
        "    return tiny_mtkd", "    encoded = 1 / 0 if 'right' in own else encoded\n    return tiny_mtkd"
    )
    file.write_text(text)
    first = start(file, jobs=2)
    _, err = first.communicate(timeout=LONGEST)
    assert first.returncode == 1 and err.count("ZeroDivisionError") == 1
    assert len(list((tmp_path / "runs").rglob("done"))) == 1


def test_a_helper_that_is_lost_is_told_and_its_run_trained_by_the_first(tmp_path):
    first = start(pair(tmp_path, 200), jobs=2)
    os.kill(helper_of(first, tmp_path), signal.SIGKILL)
    _, err = first.communicate(timeout=LONGEST)
    assert first.returncode == 0 and err.count("a process beside this one ended early (code -9)") == 1
    assert len(list((tmp_path / "runs").rglob("done"))) == 2


def test_a_second_signal_does_not_wait_for_a_helper_that_hangs(tmp_path):
    file = pair(tmp_path, 1_000_000)
    hang = "    time.sleep(600 * ('ROCL_HELPS' in os.environ))\n"
    text = "import os\n" + file.read_text().replace("    return tiny_mtkd", f"{hang}    return tiny_mtkd")
    file.write_text(text)
    first = start(file, jobs=2)
    helper = helper_of(first, tmp_path)
    time.sleep(0.2)  # it sleeps
    first.send_signal(signal.SIGINT)
    time.sleep(1)
    assert first.poll() is None  # it waits for the step that never ends
    first.send_signal(signal.SIGINT)
    assert first.wait(LONGEST) == 130
    until = time.monotonic() + LONGEST
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < until:
            os.kill(helper, 0)
            time.sleep(0.05)


def test_a_finished_graph_needs_no_helper(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TINY_ENCODER", str(tmp_path / "encoder"))
    tiny.checkpoint(tmp_path / "encoder")
    line = [str(TESTS / "tiny_mtkd.py"), "--out", str(tmp_path / "runs")]
    train.main(line)
    monkeypatch.setattr(jobs.subprocess, "Popen", None)
    monkeypatch.setenv("ROCL_JOBS", "8")
    train.main(line)
    assert "student" in capsys.readouterr().out


def test_a_helper_of_another_graph_is_refused(monkeypatch):
    monkeypatch.setenv("ROCL_HELPS", "runs/sample/pair-00000000/seed-1")
    with pytest.raises(UserError, match="pair-1.* was changed in between"):
        jobs.helps(Path("runs/sample/pair-11111111/seed-1"))
    assert jobs.helps(Path("runs/sample/pair-00000000/seed-1"))


@pytest.mark.parametrize("said", ["0", "two", "-1", "1.5", ""])
def test_a_number_of_jobs_that_is_none_is_refused(said, monkeypatch):
    monkeypatch.setenv("ROCL_JOBS", said)
    with pytest.raises(UserError, match=f"ROCL_JOBS={said}: say how many"):
        jobs.number()


def test_jobs_and_ranks_are_not_for_the_same_command(monkeypatch):
    monkeypatch.setenv("ROCL_JOBS", "2")
    monkeypatch.setattr(ranks, "world", lambda: 4)
    with pytest.raises(UserError, match="torchrun.*unset one"):
        jobs.number()
