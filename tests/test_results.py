"""Proves that lines keep what runs did, that a report can be made of them alone, and that wrong ones are told."""

import csv
import io
import json
import re
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from rocl import command, comparison, disk, metrics, paper, report, results, significance
from rocl.errors import UserError
from rocl.results import TFIDF

LABELS = ("joy", "fear", "anger")
GOLD = np.eye(3, dtype=np.uint8)[np.random.default_rng(0).integers(3, size=120)]


def line(system: str, seed: int | None, wrong: float, task: str = "emotion", **values) -> dict:
    """A made-up line of a system that errs on a share of the texts, of which many are the same for all."""
    draw = np.random.default_rng([crc32(system.encode()), seed or 0])
    hard, other = np.linspace(0, 1, 120), np.eye(3, dtype=np.uint8)[draw.integers(3, size=120)]
    predicted = np.where((0.5 * hard + 0.5 * draw.random(120) < wrong)[:, None], other, GOLD)
    sizes = {"train": 400, "dev": 50, "test": 120, "duplicates": 3, "leaks": {"dev": 1, "test": 2}, "drop_leaks": False}
    corpus = {
        "name": "redv2",
        "digest": "c0ffee",
        "judged_on": "c0ffee",
        "language": "ro",
        "note": "two rows dropped",
    } | sizes
    scores = metrics.scores(GOLD, 20.0 * predicted - 10, LABELS, "one")
    made = {"encoder": "", "dev": {}, "test": scores}
    if seed is not None:
        made |= {"encoder": "tiny 1234", "parameters": 1000, "precision": "float32", "steps": 9, "seconds": 60.0}
        made |= {"best": {"step": 5, "score": 0.5}, "code": "abc", "values": {"batch": 16, "learning_rate": 0.001}}
        made |= {"environment": {"torch": "2.13", "device": "a CPU", "threads": 2}}
    who = {"system": system, "run": f"{system}-00000000", "scale": "small", "seed": seed, "task": task}
    said = results.said(LABELS, [f"t{n}" for n in range(120)], GOLD, predicted)
    return who | {"corpus": corpus} | made | said | values


def study() -> list[dict]:
    """A baseline, a system that is better, and one that is much like it; three seeds each, on two tasks."""
    lines = []
    for task in ("emotion", "news"):
        lines += [line("majority", None, 0.95, task), line(TFIDF, None, 0.6, task)]
        lines += [line("mtkd", seed, 0.25, task) for seed in (1, 2, 3)]
        lines += [line("single_100%", seed, 0.27, task) for seed in (1, 2, 3)]
    return lines


QUOTED = {"quoted": "Ciobotaru et al. 2022", "system": "Ro-BERT", "task": "emotion", "micro_f1": 0.668}


def written(path: Path, lines: list[dict]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    return path


def ran(folder: Path, name: str, values: dict, done: bool = True) -> Path:
    """A made-up run folder of two tasks: one with many labels, one that a judge scored."""
    run = folder / "small" / name / "seed-2"
    words = {"sad": 1, "glad": 1}
    split = {"rows": 3, "labels": words, "labels per row": {}, "empty": 0, "words": {}}
    data = {
        "corpus": "own",
        "digest": "d1",
        "judged_on": "j1",
        "language": "ro",
        "licence": "",
        "note": "",
        "duplicates": 0,
        "leaks": {},
    }
    data |= {"splits": {"train": split, "dev": split, "test": split}, "drop_leaks": True}
    about = {
        "seed": 2,
        "values": {"name": name[:-9], "scale": "small", "needs": {}, "batch": 8, "betas": [0.9]} | values,
    }
    about |= {"code": "c", "parameters": 7, "precision": "torch.float32"}
    disk.write_json(
        run / "run.json", about | {"environment": {"torch": "2", "command": "/home/me/x", "git_changes": ""}}
    )
    disk.write_json(run / "data.json", {"moods": data, "pairs": data | {"splits": {}}})
    disk.write(run / "metrics.jsonl", '{"step": 4}\n{"step": 12}\n')
    rows = [(["sad"], ["sad"]), (["glad", "sad"], []), (["glad"], ["glad", "sad"])]
    told = [
        json.dumps({"id": f"r\u2028{n}", "gold": g, "predicted": p}, ensure_ascii=False)
        for n, (g, p) in enumerate(rows)
    ]
    disk.write(run / "predictions" / "moods-test.jsonl", "\n".join(told) + "\n")
    scores = {"moods": {"dev": {"accuracy": 0.5}, "test": {"accuracy": 1 / 3}}, "pairs": {"test": {"retrieval": 0.9}}}
    if done:
        disk.write_json(
            run / "done", {"tasks": ["moods"], "scores": scores, "best": {"step": 8, "score": 0.5, "file": "x"}}
        )
    return run


def test_a_line_of_a_run_folder_says_who_how_and_what(tmp_path):
    start = {"model": {"function": "f", "checkpoint": {"checkpoint": "small-bert", "checksum": "0123456789"}}}
    run = ran(tmp_path, "mtkd-11111111", start)
    moods, pairs = results.lines(run)
    assert [moods[name] for name in results.WHO] == ["mtkd", "mtkd-11111111", "small", 2, "moods"]
    assert moods["gold"] == "0 0,1 1" and moods["predicted"] == "0  0,1" and moods["labels"] == ["sad", "glad"]
    np.testing.assert_array_equal(results.unpacked(moods, "predicted"), [[1, 0], [0, 0], [1, 1]])
    assert moods["test"] == {"accuracy": 1 / 3} and moods["dev"] == {"accuracy": 0.5}
    assert moods["steps"] == 12 and moods["best"] == {"step": 8, "score": 0.5} and moods["seconds"] is None
    assert (
        moods["values"] == {"name": "mtkd", "scale": "small", "batch": 8} and moods["encoder"] == "small-bert 01234567"
    )
    assert "/home/me" not in json.dumps(moods) and moods["environment"] == {"torch": "2"}
    assert (moods["corpus"]["train"], moods["corpus"]["drop_leaks"], pairs["corpus"]["train"]) == (3, True, 0)
    assert "predicted" not in pairs and pairs["test"] == {"retrieval": 0.9}
    assert moods["rows"] != results.said((), ["r0", "r1", "r2"], GOLD, GOLD)["rows"]


def test_the_encoder_is_that_of_the_first_need_and_of_what_bare_text_made_of_it(tmp_path):
    start = {"model": {"checkpoint": {"checkpoint": "small-bert", "checksum": "0123456789"}}, "judge": "file.judge"}
    need = ran(tmp_path, "adapted-22222222", start)
    run = ran(tmp_path, "mtkd-11111111", {"needs": {"adapted": ["adapted-22222222", None], "other": ["other-1", 5]}})
    assert results.encoder(run) == "adapted of small-bert 01234567" and results.encoder(need) == "small-bert 01234567"
    pinned = ran(tmp_path, "student-44444444", {"needs": {"adapted": ["adapted-22222222", 5]}})
    assert results.encoder(pinned) == "not recorded"  # its need has another seed
    (need / "run.json").unlink()
    assert results.encoder(run) == "not recorded"


@pytest.mark.parametrize("where", [".", "small", "small/mtkd-11111111", "small/mtkd-11111111/seed-2"])
def test_run_folders_are_found_at_any_level_with_the_baselines_on_their_rows(tmp_path, where, monkeypatch):
    own = results.lines(ran(tmp_path, "mtkd-11111111", {}))
    base = line(TFIDF, None, 0.5, "moods", scale="sample", corpus=own[0]["corpus"])
    others = [base | {"run": "x", "task": "pairs"}, base | {"run": "y", "corpus": own[0]["corpus"] | {"train": 2}}]
    (tmp_path / "baselines").mkdir()
    written(tmp_path / "baselines" / "a.jsonl", [base, *others])
    told, unfinished = results.read([tmp_path / where])
    assert [each for each, _ in told] == [*own, base | {"scale": "small"}] and not unfinished
    monkeypatch.chdir(tmp_path / where)
    assert results.read([Path(".")])[0] == told


def test_what_is_not_finished_is_named_and_a_folder_without_runs_is_refused(tmp_path):
    ran(tmp_path, "mtkd-11111111", {})
    open_ = ran(tmp_path, "single-33333333", {}, done=False)
    assert results.read([tmp_path])[1] == ["single-33333333 (seed 2)"]
    for path, why in (
        (open_, "no finished run"),
        (tmp_path / "a.txt", "no folder of runs"),
        (tmp_path / "b.jsonl", "no folder"),
    ):
        with pytest.raises(UserError, match=f"{path}: .*{why}"):
            results.read([path])


def test_lines_are_added_to_a_file_once_and_read_as_they_were(tmp_path):
    file, lines = tmp_path / "kept.jsonl", study()
    results.write(file, lines[:3])
    results.write(file, [*lines, QUOTED])
    results.write(file, [QUOTED])
    assert results.distinct(results.read([file, file])[0]) == [*lines, QUOTED]
    before = file.read_bytes()
    with pytest.raises(UserError, match=r"this report: another line of mtkd-00000000 seed 1 .*kept.jsonl, line 3"):
        results.write(file, [lines[2] | {"seconds": 61.0}])
    assert file.read_bytes() == before


def test_two_lines_of_one_run_and_seed_that_differ_are_refused_with_both_places(tmp_path):
    one, two = written(tmp_path / "a.jsonl", study()), written(tmp_path / "b.jsonl", [line("mtkd", 2, 0.3)])
    with pytest.raises(
        UserError, match=r"b.jsonl, line 1: another line of mtkd-00000000 seed 2 on emotion .*a.jsonl, line 4"
    ):
        results.distinct(results.read([one, two])[0])


def test_a_baseline_made_on_another_machine_is_the_same_if_it_predicts_the_same(tmp_path):
    here = line(TFIDF, None, 0.6)
    there = here | {"test": here["test"] | {"macro_f1": here["test"]["macro_f1"] + 1e-9}}
    assert results.distinct([(here, "here"), (there, "there")]) == [here]
    with pytest.raises(UserError, match="there: another line of TF-IDF"):
        results.distinct([(here, "here"), (line(TFIDF, None, 0.7), "there")])


def without(each: dict, name: str) -> dict:
    return {key: value for key, value in each.items() if key != name}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        (json.dumps(without(line("a", 1, 0.2), "corpus")), "no 'corpus'"),
        (json.dumps(without(line("a", 1, 0.2), "environment")), "no 'environment'"),
        (json.dumps(line("a", 1, 0.2) | {"predicted": "0 1"}), "does not give its accuracy"),
        (json.dumps(line("a", 1, 0.2) | {"predicted": line("a", 2, 0.5)["predicted"]}), "does not give its accuracy"),
        (json.dumps(line("a", 1, 0.2) | {"corpus": {}}), "corpus: name is not there"),
        (json.dumps(line("a", 1, 0.2) | {"environment": {}}), "environment: device is not there"),
        (json.dumps(line("a", 1, 0.2) | {"best": 3}), "best is not there, or not what"),
        (json.dumps(line("a", 1, 0.2) | {"seed": [1]}), "seed is not there, or not what"),
        (json.dumps(line("a", 1, 0.2) | {"test": {"macro_f1": None}}), "test: macro_f1 is not there"),
        (json.dumps(line("a", 1, 0.2) | {"test": {}}), "does not give its accuracy"),
        (json.dumps(line("a", 1, 0.2) | {"labels": ["one"]}), "do not fit"),
        (json.dumps(without(line("a", 1, 0.2), "predicted")), "no 'predicted'"),
        ("", "empty: remove it"),
        (json.dumps(QUOTED | {"micro_f1": True}), "micro_f1: write it as"),
        (json.dumps(QUOTED | {"quoted": ["x"]}), "quoted: write it as"),
        (json.dumps(QUOTED | {"micro_f1": 66.8}), "micro_f1: write it as"),
        (json.dumps(without(QUOTED, "micro_f1")), "a task and a metric: write it as"),
        (json.dumps(without(QUOTED, "task")), "a task and a metric: write it as"),
    ],
)
def test_a_wrong_line_is_told_with_file_and_number(tmp_path, text, why):
    file = written(tmp_path / "lines.jsonl", study()[:2])
    with file.open("a") as lines:
        lines.write(text + "\n")
    with pytest.raises(UserError, match=f"lines.jsonl, line 3: .*{why}") as told:
        results.read([file])
    assert "\n" not in str(told.value)


def test_systems_of_one_name_are_called_by_their_hash_and_tables_are_kept_apart():
    lines = [*study(), line("mtkd", 1, 0.2, run="mtkd-11111111"), line("mtkd", 1, 0.2, scale="paper")]
    lines += [line("mtkd", 2, 0.2) | {"corpus": {**line("mtkd", 2, 0.2)["corpus"], "judged_on": "other"}}]
    named = [list(table) for table in results.tables([*lines, QUOTED])]
    assert named[0] == ["majority", TFIDF, "mtkd-00000000", "single_100%", "mtkd-11111111"]
    assert [len(table) for table in named] == [5, 4, 1, 1] and named[2:] == [["mtkd"], ["mtkd-00000000"]]


# Comparisons


def found(rows, **asked) -> dict:
    (row,) = [row for row in rows if all(row.get(name) == value for name, value in asked.items())]
    return row


def test_a_row_has_the_figures_over_seeds_and_the_tests_of_its_predictions():
    lines = study()
    row = found(comparison.compare(lines), task="emotion", system="mtkd", metric="macro_f1")
    values = [each["test"]["macro_f1"] for each in lines if each["system"] == "mtkd" and each["task"] == "emotion"]
    assert (row["mean"], row["median"], row["best"]) == (np.mean(values), np.median(values), max(values))
    assert row["deviation"] == np.std(values, ddof=1) and row["seeds"] == "1 2 3" and row["pairs"] == 3
    first = np.stack([results.unpacked(each, "predicted") for each in lines[2:5]])
    second = np.stack([results.unpacked(lines[1], "predicted")] * 3)
    slow = significance.compare(GOLD, first, second)
    for name in ("difference", "low", "high", "p_bootstrap", "p_randomised", "smallest"):
        assert row[name] == slow[name][1]
    assert row["difference"] == pytest.approx(np.mean(values) - lines[1]["test"]["macro_f1"])
    assert "p_mcnemar" not in row and row["verdict"] == "above" and row["against"] == TFIDF


def test_holm_is_over_the_comparisons_of_a_table_and_a_baseline_is_compared_with_systems_alone():
    rows = comparison.compare(study())
    two = [found(rows, task="news", system=name, metric="accuracy") for name in ("mtkd", "single_100%")]
    np.testing.assert_array_equal([r["p_holm"] for r in two], significance.holm([r["p_bootstrap"] for r in two]))
    assert "difference" not in found(rows, task="news", system="majority", metric="accuracy")
    rows = comparison.compare(study(), "single_100%")
    assert found(rows, task="news", system=TFIDF, metric="accuracy")["verdict"] == "below"
    much = found(rows, task="news", system="mtkd", metric="accuracy")
    assert much["verdict"] == "not shown" and much["pairs"] == 3 and abs(much["difference"]) < much["smallest"]


def test_a_stage_on_the_way_is_told_but_not_tested_and_makes_no_family_larger():
    rows = comparison.compare(study(), TFIDF, {"mtkd-00000000"})
    one = found(rows, task="news", system="mtkd", metric="accuracy")
    assert one["p_holm"] == one["p_bootstrap"]
    stage = found(rows, task="news", system="single_100%", metric="accuracy")
    assert stage["mean"] > 0 and "p_bootstrap" not in stage and "verdict" not in stage


def test_a_table_is_named_by_its_baseline_though_a_system_learned_from_more():
    lines = study()
    more = lines[2]["corpus"] | {"name": "redv2+emotion", "digest": "beef"}
    lines = [line | {"corpus": more} if line["system"] == "mtkd" else line for line in lines[2:] + lines[:2]]
    rows = comparison.compare([*lines, QUOTED | {"corpus": "redv2"}])
    assert {row["corpus"] for row in rows} == {"redv2"} and {row["digest"] for row in rows} == {"c0ffee"}
    assert found(rows, task="emotion", system="Ro-BERT", metric="micro_f1")["mean"] == 0.668


def test_a_file_of_lines_that_is_no_utf8_or_lacks_what_was_gold_is_told(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(study()[2]), encoding="utf-16")
    with pytest.raises(UserError, match="a.jsonl, row 1: not UTF-8"):
        results.read([tmp_path / "a.jsonl"])
    written(tmp_path / "b.jsonl", [without(study()[2], "gold")])
    with pytest.raises(UserError, match="b.jsonl, line 1: it has predictions and no 'gold'"):
        results.read([tmp_path / "b.jsonl"])


def test_a_verdict_from_one_seed_says_so():
    (shown,) = [
        row for row in comparison.compare(study()[:3]) if row["system"] == "mtkd" and row["metric"] == "accuracy"
    ]
    assert shown["verdict"] == "above" and paper.cells(shown)[-1] == "above, of one seed"


def test_nothing_is_shown_that_is_significant_but_smaller_than_can_be_shown():
    row = {"p_bootstrap": 0.02, "difference": 0.01, "smallest": 0.011}
    rows = [row, row | {"difference": -0.012}, row | {"p_bootstrap": 0.5, "difference": 0.5}]
    comparison.judge(rows[:2])
    comparison.judge(rows[2:])
    assert [each["verdict"] for each in rows] == ["not shown", "below", "not shown"]


def test_runs_are_paired_by_seed_and_what_cannot_be_paired_is_told():
    lines = [line("a", 1, 0.2), line("a", 2, 0.2), line("b", 2, 0.3), line("b", 3, 0.3), line("c", 4, 0.3)]
    lines.append(without(line("d", 1, 0.3), "predicted"))
    rows = [row for row in comparison.compare(lines, "a") if row["metric"] == "accuracy"]
    scores = {(each["system"], each["seed"]): each["test"]["accuracy"] for each in lines}
    assert found(rows, system="b")["difference"] == pytest.approx(scores["b", 2] - scores["a", 2])
    assert found(rows, system="b")["pairs"] == 1 and found(rows, system="c")["verdict"] == "no seed in common"
    assert "| b | 2 3 (1 paired) |" in paper.markdown(rows) and "| a | 1 2 |" in paper.markdown(rows)
    assert found(rows, system="d")["verdict"] == "no predictions" and "verdict" not in found(rows, system="a")


def test_systems_tested_on_other_rows_are_not_compared():
    with pytest.raises(UserError, match="b-00000000 and a-00000000 were not tested on the same rows of emotion"):
        comparison.compare([line("a", 1, 0.2), line("b", 1, 0.3, rows="other")], "a")


def test_a_name_that_nobody_has_gets_the_nearest_and_one_that_two_have_is_refused():
    with pytest.raises(UserError, match=r"--against mktd: no such system.*did you mean mtkd\?"):
        comparison.compare(study(), "mktd")
    two = [line("a", 1, 0.2), line("a", 1, 0.3, run="a-11111111"), line("b", 1, 0.2)]
    with pytest.raises(UserError, match="--against a: choose one of a-00000000, a-11111111"):
        comparison.compare(two, "a")
    assert found(comparison.compare(two, "a-11111111"), system="b", metric="accuracy")["against"] == "a-11111111"
    some = line(TFIDF, None, 0.5) | {"run": "few", "corpus": {**line("a", 1, 0.2)["corpus"], "train": 100}}
    rows = comparison.compare([some, *study()])
    assert found(rows, system="mtkd", task="emotion", metric="accuracy")["against"] == f"{TFIDF}-00000000"


# Reports of lines alone


def reported(arguments: list[str], capsys) -> str:
    assert command.run(report.main, arguments) == 0
    return capsys.readouterr().out


@pytest.fixture
def file(tmp_path) -> str:
    return str(
        written(tmp_path / "lines.jsonl", [*study(), QUOTED, QUOTED | {"task": "stance", "quoted": "elsewhere"}])
    )


def test_the_whole_report_comes_out_of_lines_alone(file, capsys):
    told = reported([file], capsys)
    assert told.startswith(f"No system is below {TFIDF} in macro-F1.")
    for part in (
        "## emotion: macro-F1 against TF-IDF + LR (small, redv2)",
        "6 runs of 2 systems, 6 minutes in all",
        "test was scored once",
        "| small | mtkd-00000000 | 1, 2, 3 | 1,000 | 9 | 16 | 0.001 | 50.0 | 60 |",
        "| small | news | ro | redv2 400/50/120 c0ffee | 3 | 1, 2 | two rows dropped |",
        "- torch: 2.13",
        "- code: abc",
        "left out: elsewhere",
    ):
        assert part in told
    (quoted,) = [each for each in told.splitlines() if "Ciobotaru" in each and each.count("|") > 8]
    assert "| Ro-BERT |" in quoted and "| 66.8 |" in quoted and quoted.endswith("| quoted: Ciobotaru et al. 2022 |")
    row = next(each for each in told.split("## emotion: macro-F1")[1].splitlines() if each.startswith("| mtkd"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert re.fullmatch(r"\+\d+\.\d \[\+\d+\.\d, \+\d+\.\d\]", cells[5]) and cells[-1] == "above" and cells[9] == ""
    assert "not compared" not in told.lower()


def test_where_the_named_system_is_not_there_the_report_says_so(file, tmp_path, capsys):
    lines = [each for each in study() if each["system"] != TFIDF or each["task"] != "news"]
    told = reported([str(written(tmp_path / "some.jsonl", lines))], capsys)
    assert "Not compared, for there is no TF-IDF + LR on the same rows: news." in told
    assert "## emotion: accuracy against" in told and "## news: accuracy against" not in told


def test_csv_has_a_row_a_system_task_and_metric_in_plain_numbers(file, capsys):
    rows = list(csv.DictReader(io.StringIO(reported([file, "--csv", "--against", "single_100%"], capsys))))
    assert list(rows[0]) == comparison.FIELDS
    row = found(rows, task="emotion", system="mtkd", metric="accuracy")
    expected = found(comparison.compare(study(), "single_100%"), task="emotion", system="mtkd", metric="accuracy")
    for name in ("mean", "difference", "p_holm", "p_mcnemar", "smallest"):
        assert float(row[name]) == expected[name]
    quoted = found(rows, quoted="Ciobotaru et al. 2022")
    assert quoted["metric"] == "micro_f1" and float(quoted["mean"]) == 0.668 and quoted["difference"] == ""
    assert found(rows, task="news", system="mtkd", metric="macro_recall")["p_bootstrap"] == ""


def test_latex_has_one_table_with_every_task_and_escapes_what_is_special(file, capsys):
    told = reported([file, "--latex"], capsys)
    for opening in ("table", "tabular"):
        assert told.count(rf"\begin{{{opening}}}") == told.count(rf"\end{{{opening}}}") == 1
    body = told.split(r"\toprule")[1].split(r"\bottomrule")[0]
    lines = [each for each in body.splitlines() if "&" in each]
    columns = re.search(r"\\begin\{tabular\}\{l(r+)\}", told)[1]
    assert len(columns) == 5 and {each.count("&") for each in lines[1:]} == {5}  # emotion also has what is quoted of it
    assert lines[0] == r" & \multicolumn{3}{c}{emotion} & \multicolumn{2}{c}{news} \\"
    assert r"single\_100\%" in body and "single_100%" not in told and told.count("{") == told.count("}")
    (mtkd,) = [each for each in lines if each.startswith("mtkd")]
    assert r"\textbf{" in mtkd and r"{\small$\,\pm\,$" in mtkd and r"$^{\dagger}$" in mtkd
    assert lines[-1] == r"Ro-BERT (quoted: Ciobotaru et al. 2022) & -- & -- & 66.8 & -- & -- \\"
    assert body.count(r"\midrule") == 3  # under the head, the baselines, the systems


def test_two_figures_of_one_source_and_one_with_its_corpus_stand_in_every_form(tmp_path, capsys):
    lines = [*study(), QUOTED, QUOTED | {"micro_f1": 0.619, "corpus": study()[0]["corpus"]["name"]}]
    file = written(tmp_path / "lines.jsonl", lines)
    for flags in ([], ["--csv"], ["--latex"]):
        told = reported([str(file), *flags], capsys)
        assert "66.8" in told or "0.668" in told
        assert "61.9" in told or "0.619" in told
    assert "66.8 / 61.9" in told


def test_latex_letters_with_a_meaning_are_escaped():
    assert paper.escaped(r"a_b & 5% of $1 #2 {x} ~ ^ \y") == (
        r"a\_b \& 5\% of \$1 \#2 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{}y"
    )


def test_the_picture_has_a_full_dot_where_a_difference_is_shown_and_a_hollow_one_elsewhere(tmp_path):
    row = {"scale": "small", "task": "emoție", "corpus": "c", "against": "b", "metric": "macro_f1"}
    rows = [row | {"system": "a", "difference": 0.04, "low": 0.02, "high": 0.06, "verdict": "above"}]
    rows += [row | {"system": "c", "difference": -0.04, "low": -0.06, "high": 0.02, "verdict": "not shown"}]
    paper.picture([*rows, row | {"system": "b", "mean": 0.5}], tmp_path / "p.png")
    picture = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).astype(int)
    assert picture.shape[0] == paper.LINE * 6  # a head, a title, two systems, numbers below
    left = picture.shape[1] - 2 * paper.HALF
    for number, (share, full) in enumerate(((0.04, True), (-0.04, False)), 1):
        x, y = round(left + paper.HALF * (1.5 + 0.42 * share / 0.06)), round(paper.LINE * (number + 1.5))
        assert abs(picture[y, x] - (paper.BLUE if full else paper.WHITE)).max() < 40
        end = round(left + paper.HALF * (1.5 + 0.42 * rows[number - 1]["low"] / 0.06)) + 4
        assert abs(picture[y, end] - paper.BLUE).max() < 60  # the bar reaches to its end
        assert abs(picture[y, end - 12] - paper.BLUE).max() > 100
    with pytest.raises(UserError, match="nothing was compared"):
        paper.picture([row | {"system": "b"}], tmp_path / "q.png")


def test_lines_and_a_picture_are_written_on_request(file, tmp_path, capsys):
    more, picture = tmp_path / "all.jsonl", tmp_path / "picture.png"
    told = reported([file, "--lines", str(more), "--picture", str(picture)], capsys)
    assert reported([str(more)], capsys) == told and picture.stat().st_size > 1000


def test_a_mistake_is_one_line(file, tmp_path, capsys):
    assert command.run(report.main, [str(tmp_path / "absent")]) == 2
    assert command.run(report.main, [file, "--latex", "--csv"]) == 2
    assert command.run(report.main, [file, "--against", "nobody"]) == 2
    assert command.run(report.main, [file, "--lines", str(tmp_path / "lines.json")]) == 2
    assert command.run(report.main, [file, "--picture", str(tmp_path / "picture.jpg")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 5 and all(each.startswith("rocl: ") for each in told)
