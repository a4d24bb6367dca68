"""Proves that the flags of a run are frozen and that a wrong name gets one line with the right one, and exit code 2."""

import subprocess
import sys
from pathlib import Path

import pytest

from rocl import command, train
from rocl.download import UserError
from rocl.experiment import Scale, load

ROOT = Path(__file__).parents[1]


def test_the_flags_of_train_are_frozen(capsys):
    with pytest.raises(SystemExit) as end:
        train.parse(["--help"])
    assert end.value.code == 0
    flags = {word.strip("[],") for word in capsys.readouterr().out.split() if word.strip("[],").startswith("-")}
    assert flags == {"-h", "--help", "--scale", "--seed", "--seeds", "--out", "--dry-run", "-m"}  # -m is python's


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


@pytest.mark.parametrize("seeds", ["5-1", "x", "1-x", "-3"])
def test_seeds_that_are_no_range_are_refused(seeds):
    with pytest.raises(UserError):
        train.parse(["x.py", f"--seeds={seeds}"])


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


def test_a_name_that_is_like_nothing_gets_no_hint():
    assert command.hint("qqqqq", ["name", "needs"]) == "" and command.hint("nam", ["name"]) == " (did you mean name?)"
