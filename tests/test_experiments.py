"""Every experiment file, as it ships, takes a step of each of its runs on the bundled sample."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments import scales
from rocl import check, train
from rocl.experiment import Experiment, Scale, graph, load

FOLDER = Path(__file__).parents[1] / "experiments"
GATHERED = ("families", "paper_table", "study")  # of runs that stand in the other files: rehearsed there
FILES = [file for file in sorted(FOLDER.glob("*.py")) if "def experiment(" in file.read_text("utf-8")]


def of_one_task(study: Experiment) -> Experiment:
    """Of a study the systems of the first task: those of the others are the same code."""
    needs = {name: need for name, need in study.needs.items() if not name.startswith(scales.PARTS[1:])}
    return study if study.objective else replace(study, needs=needs)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_can_be_checked_and_rehearsed(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ROCL_OFFLINE", "1")
    nodes = graph(load(file, Scale.SAMPLE), Scale.SAMPLE, 1, tmp_path / "runs", file)
    check.check(nodes)
    told = capsys.readouterr().out
    assert all(str(node.folder) in told for node in nodes)
    if file.stem in GATHERED:
        return
    one = of_one_task(nodes[-1].experiment)
    train.rehearse(graph(one, Scale.SAMPLE, 1, tmp_path / "runs", file)[-1])
    assert not [folder for folder in (tmp_path / "runs").iterdir() if folder.name != "tokens"]
