"""Proves that the tables of a report say what was measured, beside what, and what lost to TF-IDF."""

import json
import math
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score
from test_train import made

from rocl import command, disk, finish, report, results, runs, train
from rocl.baselines import majority, tfidf
from rocl.data.task import sample
from rocl.experiment import Experiment, Scale, graph
from rocl.predict import Done


def english(experiment: Experiment) -> Experiment:
    """The same run under another name on a twin of its first task."""
    task = experiment.tasks[0]
    twin = replace(task, name="one-en", corpus=replace(task.corpus, language="en"))
    return replace(experiment, name="twin", tasks=[twin], steps=2)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> list[Done]:
    """Two seeds of a run, of its English twin, which comes first in the graph, and of a shorter one."""
    path = tmp_path_factory.mktemp("study")
    main = made(path, steps=20)
    whole = Experiment(
        name="study", needs={"twin": english(main), "main": main, "short": replace(main, name="short", steps=2)}
    )
    done = []
    for seed in (1, 2):
        *needs, _ = graph(whole, Scale.SAMPLE, seed, path / "runs", Path(__file__))
        for node in needs:
            train.train(node, {})
            done.append(Done(node, {}))
    return done


def tables(text: str) -> dict[str, list[dict[str, str]]]:
    """Every table by the line above it, as rows by column."""
    found, above = {}, ""
    for part in text.split("\n\n"):
        if not part.startswith("|"):
            above = part.strip()
            continue
        head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in part.strip().splitlines())
        found[above] = [dict(zip(head, row, strict=True)) for row in rows]
    return found


def test_every_line_begins_with_scale_corpus_encoder_and_seeds(study, tmp_path):
    text = report.report(study, tmp_path)
    task = study[1].tasks()[0]
    rows = tables(text)["## one"]
    assert list(rows[0])[:5] == ["scale", "corpus train/dev/test digest", "encoder", "seeds", "system"]
    assert [row["system"] for row in rows] == ["majority", "TF-IDF + LR", "tiny", "short"]
    assert {row["corpus train/dev/test digest"] for row in rows} == {f"tiny-one 60/24/24 {task.corpus.digest}"}
    assert rows[2]["scale"] == "sample" and rows[2]["seeds"] == "1, 2"
    name, checksum = rows[2]["encoder"].split()
    assert name == "encoder" and len(checksum) == 8
    assert (tmp_path / "report.md").read_text() == text


def test_scores_are_the_mean_and_the_standard_deviation_over_seeds_in_per_cent(study, tmp_path):
    row = tables(report.report(study, tmp_path))["## one"][2]
    for column, metric in (("accuracy", "accuracy"), ("macro-F1", "macro_f1"), ("recall", "macro_recall")):
        values = [100 * run.scores["one"]["test"][metric] for run in study if run.node.experiment.name == "tiny"]
        a, b = values
        assert row[column] == f"{(a + b) / 2:.1f} ± {abs(a - b) / np.sqrt(2):.1f}"
    alone = tables(report.report(study[:2], tmp_path))["## one"][2]
    assert "±" not in "".join(alone.values()) and alone["seeds"] == "1"


def test_the_first_sentence_names_what_is_below_tfidf(study, tmp_path):
    text = report.report(study, tmp_path)
    marked = {
        (above[3:], row["system"])
        for above, rows in tables(text).items()
        for row in rows
        if "below" in row.get("note", "")
    }
    first = text.split("\n")[0]
    assert ("one-en", "twin") in marked  # after two steps
    said = first.removeprefix("Below TF-IDF + LR in macro-F1: ").removesuffix(".").split(", ")
    assert len(said) == len(marked) and set(said) == {f"{system} on {task}" for task, system in marked}


def test_a_system_above_tfidf_is_not_marked(study, tmp_path, monkeypatch):
    real = results.of_baselines

    def nothing(*about):
        return [each | {"test": dict.fromkeys(each["test"], 0.0)} for each in real(*about)]

    monkeypatch.setattr(results, "of_baselines", nothing)
    text = report.report(study, tmp_path)
    assert text.startswith("No system is below TF-IDF + LR") and "below TF-IDF |" not in text


def test_what_most_systems_learn_comes_first_and_the_authors_figures_have_a_table_of_their_own(study, tmp_path):
    text = report.report(study, tmp_path)
    above = list(tables(text))
    assert above == [
        "## one",
        "## many",
        "many as the REDv2 authors' code counts, at threshold 0.5, to compare with their figures:",
        "## one-en",
        "## Runs",
    ]
    assert {"micro-F1", "Hamming"} <= set(tables(text)["## many"][0]) and "Hamming" not in tables(text)["## one"][0]
    row = tables(text)[above[2]][2]
    values = [100 * run.scores["many"]["test"]["redv2_authors/hamming_loss"] for run in study[1::3]]
    assert row["Hamming"].startswith(f"{np.mean(values):.1f}")


def test_of_one_seed_the_interval_is_told_and_of_several_the_spread(study, tmp_path):
    for runs_, sign in ((study[:3], "["), (study, "±")):
        rows = tables(report.report(runs_, tmp_path))["## one"]
        assert all(sign in row["macro-F1"] and sign in row["accuracy"] for row in rows[2:])
    low, high = (float(part) for part in rows[1]["accuracy"].split("[")[1].rstrip("]").split(","))
    assert 0 <= low <= float(rows[1]["accuracy"].split()[0]) <= high <= 100


def line(right: list[int], seed: int = 1) -> dict:
    """A made-up line of a run that is right on some texts."""
    said = " ".join("0" if one else "1" for one in right)
    return {"seed": seed, "labels": ["a", "b"], "gold": " ".join("0" * len(right)), "predicted": said}


def test_the_smallest_difference_is_told_by_the_rows_on_which_just_one_run_is_right():
    half, other = line([1, 0] * 50), line([1, 0] * 40 + [0, 1] * 10)  # they differ on 20 of 100 rows
    told = report.smallest({"a": [half], "b": [other]})
    assert "What 100 test texts can show" in told and "right on 20 texts" in told
    assert "significant (5 %) from 8.8 points" in told and "four times in five from 12.5 points" in told
    # McNemar's exact test agrees: 14 against 6 is not significant, 15 against 5 is.
    by_hand = [2 * sum(math.comb(20, k) for k in range(fewer + 1)) / 2**20 for fewer in (6, 5)]
    assert by_hand[0] > 0.05 > by_hand[1] and 14 - 6 < 8.8 < 15 - 5
    assert report.smallest({"a": [half], "b": [half]}) == ""  # nothing to judge by
    assert report.smallest({"a": [half]}) == "" == report.smallest({})
    assert report.smallest({"a": [other], "b": [half, line([1] * 100, seed=2)]}) == ""
    assert report.smallest({"a": [half], "b": [other | {"seed": None}]}) == ""  # a baseline


def test_a_line_says_what_its_run_says_and_the_same_as_the_lines_of_its_folder(study):
    told = report.gathered(study)
    runs_of = [each for each in told if each["seed"] is not None]
    assert runs_of == [each for run in study for each in results.lines(run.folder)]
    for run in study:
        own = {
            each["task"]: each for each in runs_of if each["run"] == run.node.title and each["seed"] == run.node.seed
        }
        for task in run.tasks():
            each, said = own[task.name], run.folder / "predictions" / f"{task.name}-test.jsonl"
            predicted = [json.loads(row)["predicted"] for row in said.open(encoding="utf-8")]
            assert each["test"] == run.scores[task.name]["test"] and each["encoder"] == run.node.encoder
            assert (results.unpacked(each, "gold") == task.gold("test")).all() and each["labels"] == list(task.labels)
            marks = results.unpacked(each, "predicted")
            assert [[n for n, one in zip(task.labels, row, strict=True) if one] for row in marks] == predicted
            assert each["steps"] == run.node.experiment.steps and each["corpus"]["digest"] == task.corpus.digest


def test_a_baseline_is_made_once_and_its_line_gives_its_scores(study):
    task, node = study[1].tasks()[1], study[1].node
    lines = results.of_baselines(task, node.out, "small")
    assert [each["system"] for each in lines] == ["majority", report.TFIDF] and lines[0]["scale"] == "small"
    assert lines[1]["test"] == tfidf(task)["test"] and lines[0]["test"] == majority(task)["test"]
    for each in lines:
        predicted = results.unpacked(each, "predicted")
        assert f1_score(task.gold("test"), predicted, average="macro", zero_division=0) == each["test"]["macro_f1"]
    (kept,) = (node.out / "baselines").glob(f"{task.name}-*")
    before = kept.stat().st_mtime_ns
    assert results.of_baselines(task, node.out, "small") == lines and kept.stat().st_mtime_ns == before


def test_the_baseline_of_a_task_learns_from_as_many_rows_as_any_run(study, tmp_path):
    few = replace(made(tmp_path, steps=2), name="few", tasks=[sample(study[1].tasks()[0], 20)])
    (node,) = graph(few, Scale.SAMPLE, 1, tmp_path / "runs", Path(__file__))
    train.train(node, {})
    lines = report.gathered([Done(node, {}), *study])
    assert {each["corpus"]["train"] for each in lines if each["task"] == "one" and each["seed"] is None} == {60}


def test_run_folders_and_their_lines_give_the_report_of_the_experiment(study, tmp_path, capsys):
    lines = tmp_path / "lines.jsonl"
    assert command.run(report.main, [str(study[0].node.out), "--lines", str(lines), "--against", "short"]) == 0
    told = capsys.readouterr().out
    assert command.run(report.main, [str(lines), "--against", "short"]) == 0
    assert capsys.readouterr().out == told
    rows = tables(told)["## many: macro-F1 against short (sample, tiny-many)"]
    assert [row["system"] for row in rows] == ["majority", report.TFIDF, "short", "tiny"]
    first = tables(report.report(study, tmp_path))
    for heading in ("## one", "## many", "## one-en", "## Runs"):  # in the order of the graph, or of the folders
        assert sorted(map(str, tables(told)[heading])) == sorted(map(str, first[heading]))


def test_how_long_and_where_a_run_went_is_told(study, tmp_path):
    rows = tables(report.report(study, tmp_path))["## Runs"]
    assert [(row["run"], row["seed"]) for row in rows] == [(run.node.title, str(run.node.seed)) for run in study]
    assert rows[0]["best step"] == str(study[0].record["best"]["step"]) and rows[0]["wall time"].endswith(" s")
    assert "threads" in rows[0]["machine"]


def test_a_run_of_other_code_is_marked(study, tmp_path):
    record = disk.read_json(study[1].folder / "run.json")
    assert "other code" not in report.report(study, tmp_path)
    try:
        disk.write_json(study[1].folder / "run.json", record | {"code": "other"})
        assert tables(report.report(study, tmp_path))["## one"][2]["note"].startswith("trained with other code")
    finally:
        disk.write_json(study[1].folder / "run.json", record)


def test_a_run_that_went_on_with_other_code_names_both(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "code", lambda folder: "new")
    assert finish.codes(tmp_path, tmp_path) == "new"
    disk.write_json(tmp_path / "run.json", {"code": "old"})
    assert finish.codes(tmp_path, tmp_path) == "new"  # it was stopped before its first checkpoint
    (tmp_path / "checkpoints").mkdir()
    disk.write_json(tmp_path / "checkpoints" / "00000001.json", {})
    assert finish.codes(tmp_path, tmp_path) == "old+new"
    disk.write_json(tmp_path / "run.json", {"code": "old+new"})
    assert finish.codes(tmp_path, tmp_path) == "old+new"


def test_two_systems_of_one_name_are_told_apart(study, tmp_path):
    main = made(tmp_path, steps=3)
    (node,) = graph(main, Scale.SAMPLE, 1, tmp_path, Path(__file__))
    train.train(node, {})
    rows = tables(report.report([*study, Done(node, {})], tmp_path))["## one"]
    assert [row["system"] for row in rows[2:]] == [study[1].node.title, "short", node.title]


FILE = """
from pathlib import Path
from test_train import made

def experiment(scale):
    return made(Path({path!r}), steps=3)
"""


def test_the_command_reports_what_stands_on_disk_and_names_what_was_not_run(tmp_path, capsys, monkeypatch):
    file = tmp_path / "files" / "short.py"
    file.parent.mkdir()
    file.write_text(textwrap.dedent(FILE.format(path=str(tmp_path))))
    out = ["--out", str(tmp_path / "runs")]
    assert command.run(report.main, [str(file), *out]) == 0
    assert capsys.readouterr().out.startswith("No run is finished.\n\nNot run: tiny (seed 1).")
    assert command.run(train.main, [str(file), "--seed", "2", *out]) == 0
    capsys.readouterr()
    monkeypatch.setattr(train, "train", None)
    assert command.run(report.main, [str(file), "--seeds", "1-3", *out]) == 0
    said = capsys.readouterr().out
    assert "Not run: tiny (seed 1), tiny (seed 3)." in said and tables(said)["## one"][2]["seeds"] == "2"
