"""Proves that the flags of a run are frozen and that a wrong name gets one line with the right one, and exit code 2."""

import errno
import os
import subprocess
import sys
from dataclasses import make_dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from rocl import command, runs, train
from rocl.errors import UserError, hint
from rocl.experiment import Scale, load, named

ROOT = Path(__file__).parents[1]


def test_the_flags_of_train_are_frozen(capsys):
    with pytest.raises(SystemExit) as end:
        train.parse(["--help"])
    assert end.value.code == 0
    flags = {word.strip("[],") for word in capsys.readouterr().out.split() if word.strip("[],").startswith("-")}
    others = {"-m", "--nproc-per-node"}  # python's and torchrun's
    assert flags - others == {"-h", "--help", "--scale", "--seed", "--seeds", "--out", "--dry-run"}


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["x.py", "--scael", "small"], "--scale"),
        (["x.py", "--dryrun"], "--dry-run"),
        (["x.py", "--scale", "smal"], "small"),
    ],
)
def test_a_wrong_flag_or_scale_gets_the_nearest_right_one(arguments, near):
    with pytest.raises(UserError, match=rf"did you mean {near}\?"):
        train.parse(arguments)


@pytest.mark.parametrize("seeds", ["5-1", "x", "1-x", "-3", "1-²"])
def test_seeds_that_are_no_range_are_refused(seeds):
    with pytest.raises(UserError, match=f"--seeds {seeds}: "):
        train.parse(["x.py", f"--seeds={seeds}"])


def test_a_seed_below_zero_is_refused():
    with pytest.raises(UserError, match="--seed -1: seeds count from 0"):
        train.parse(["x.py", "--seed", "-1"])


def test_a_range_of_seeds_includes_its_last():
    assert list(train.parse(["x.py", "--seeds", "2-4"]).seeds) == [2, 3, 4]


def test_a_wrong_file_gets_the_nearest_right_one():
    with pytest.raises(UserError, match=r"mktd.py: no such experiment file \(did you mean .*mtkd.py\?\)"):
        load(ROOT / "experiments" / "mktd.py", Scale.SAMPLE)


MISTAKES = {
    "field": (
        "from rocl.experiment import Experiment\n\ndef experiment(scale):\n    return Experiment(lerning_rate=1)",
        r"4: TypeError: .*'lerning_rate' \(did you mean learning_rate\?\)",
    ),
    "task": (
        "from rocl.data.task import Task\n\ndef experiment(scale):\n    return Task(nam='x')",
        r"4: .*did you mean name",
    ),
    "replaced": (
        "from dataclasses import replace\nfrom rocl.experiment import Experiment\n"
        "need = Experiment(name='n', needs={'x': 1})\ndef experiment(scale):\n    return replace(need, epoch=2)",
        r"5: TypeError: .*'epoch' \(did you mean epochs\?\)",
    ),
    "name": ("x = 1\ny = z\n", r"2: NameError: name 'z' is not defined"),
    "syntax": ("x = 1\ndef f(:\n", r"2: SyntaxError: "),
    "import": ("import rocl\n\nfrom rocl.losses import clasify\n", r"3: ImportError: .*'clasify'"),
    "module": ("import no_such_module\n", r"1: ModuleNotFoundError: .*no_such_module"),
    "nothing": ("x = 1\n", r"must define a function experiment\(scale\)"),
    "other": ("def experiment(scale):\n    return 3\n", r"returned a int, not an Experiment"),
    "values": (
        "from rocl.experiment import Experiment\ndef experiment(scale):\n    return Experiment(name='x')\n",
        r"experiment x: without an objective it is a study and must list needs \(.*values.py:3\)",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_an_experiment_file_is_one_line_with_its_place(tmp_path, name):
    text, message = MISTAKES[name]
    file = tmp_path / f"{name}.py"
    file.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load(file, Scale.SAMPLE)
    assert "\n" not in str(error.value) and str(file) in str(error.value)


def test_a_file_that_failed_is_read_anew(tmp_path):
    file = tmp_path / "again.py"
    file.write_text("x = y")
    for _ in range(2):
        with pytest.raises(UserError, match="NameError"):
            load(file, Scale.SAMPLE)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["experiments/mtkd.py", "--sede", "1"], 2, "did you mean --seed?"),
        (["--help"], 0, "--dry-run"),
    ],
)
def test_the_exit_code_tells_a_mistake_from_success(arguments, code, words):
    done = subprocess.run([sys.executable, "-m", "rocl.train", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code and words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == (code == 2)


@pytest.mark.parametrize("reason", [errno.EACCES, errno.ENOSPC, errno.ENOTDIR])
def test_a_disk_that_cannot_be_written_is_one_line(capsys, reason):
    def full(arguments):
        raise OSError(reason, os.strerror(reason), "runs/x")

    assert command.run(full, []) == 2
    assert capsys.readouterr().err == f"rocl: runs/x cannot be written or read: {os.strerror(reason)}\n"


def test_letters_that_a_terminal_does_not_know_stop_nothing():
    code = "import sys; from rocl import command; sys.exit(command.run(lambda arguments: print('șț'), []))"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "\\u0219\\u021b\n")


def test_a_file_that_another_module_hides_is_refused(tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "serialization.py").write_text("")
    with pytest.raises(UserError, match="another module called torch.serialization; rename"):
        load(tmp_path / "torch" / "serialization.py", Scale.SAMPLE)


def test_keys_of_several_types_are_values_too():
    assert named({"a": 3, 1: 2}, "x") == {"a": 3, "1": 2}


def test_values_that_differ_in_type_alone_are_told_apart():
    first, second = (make_dataclass(name, ["margin"])(0.5) for name in ("First", "Second"))
    assert named(first, "x") != named(second, "x")
    assert named(partial(load, function=1), "x") != named(partial(named, function=1), "x")
    assert named(np.zeros(4, np.int32), "x") != named(np.zeros((2, 2), np.float32), "x")


def test_a_link_that_an_editor_leaves_beside_an_experiment_is_no_source(tmp_path):
    (tmp_path / "mine.py").write_text("")
    (tmp_path / ".#mine.py").symlink_to("someone@somewhere.1")
    runs.keep_source(tmp_path / "run", tmp_path)
    kept = (tmp_path / "run" / "source" / "experiments").iterdir()
    assert runs.code(tmp_path) and [file.name for file in kept] == ["mine.py"]


def test_a_name_that_is_like_nothing_gets_no_hint():
    assert hint("qqqqq", ["name", "needs"]) == "" and hint("nam", ["name"]) == " (did you mean name?)"
