"""Every experiment file, as it ships, takes a step of each of its runs on the bundled sample."""

from pathlib import Path

import pytest

from rocl import check, train
from rocl.experiment import Scale, graph, load

FOLDER = Path(__file__).parents[1] / "experiments"
GATHERED = ("paper_table", "study")  # of runs that stand in the other files: rehearsed there
FILES = [file for file in sorted(FOLDER.glob("*.py")) if "def experiment(" in file.read_text("utf-8")]


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
    train.rehearse(nodes[-1])
    assert not [folder for folder in (tmp_path / "runs").iterdir() if folder.name != "tokens"]
