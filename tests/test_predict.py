"""Proves that a finished run says of new texts, in any form they come, what it said when it was scored."""

import itertools
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from test_train import made, run

from rocl import command, disk, predict

CLI = [sys.executable, "-m", "rocl.predict"]


@pytest.fixture(scope="module")
def float32():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "precision", lambda *_: torch.float32)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, float32):
    """A run with two tasks, one of which reads fewer tokens than the other."""
    path = tmp_path_factory.mktemp("run")
    one, many = made(path).tasks
    return run(
        replace(made(path), tasks=[one, replace(many, max_length=8)], steps=120, learning_rate=5e-3), path / "runs"
    )


def texts(folder, task: str) -> tuple[list[str], list[dict]]:
    """The test texts of a task, and what the run left of them in its predictions."""
    lines = (folder / "predictions" / f"{task}-test.jsonl").read_text().splitlines()
    rows = {row.id: row for t in made(folder.parents[2]).tasks if t.name == task for row in t.rows("test")}
    said = [json.loads(line) for line in lines]
    return [rows[line["id"]].texts[0] for line in said], said


@pytest.mark.parametrize("task", ["one", "many"])
@pytest.mark.parametrize("form", ["jsonl", "txt", "arguments"])
def test_it_says_what_stands_in_the_runs_predictions(folder, tmp_path, capsys, task, form):
    words, expected = texts(folder, task)
    file = tmp_path / f"texts.{form}"
    lines = [json.dumps({"text": text, "other": 1}) for text in words] if form == "jsonl" else words
    file.write_text("\n".join(lines), "utf-8")
    predict.main([str(folder), *(words if form == "arguments" else ["--file", str(file)])])
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["text"] for line in said] == words and list(said[0]) == ["text", "one", "many"]
    assert [line[task]["labels"] for line in said] == [line["predicted"] for line in expected]
    for line, known in zip(said, expected, strict=True):
        assert line[task]["probabilities"] == pytest.approx(known["probabilities"], abs=2e-6)
    assert len({tuple(line[task]["labels"]) for line in said}) > 1


def test_the_encoder_is_there_once_and_is_the_one_of_every_task(folder):
    model = predict.Classifier(folder).model
    whole = predict.load_file(folder / "weights.safetensors")
    state = {name: tensor for name, tensor in model.state_dict().items() if "pooler" not in name}  # not computed with
    assert state.keys() <= whole.keys() and {"heads.one.output.weight", "heads.many.output.weight"} <= state.keys()
    assert all(torch.equal(state[name], whole[name]) for name in state)


@pytest.mark.parametrize(
    "line, complaint",
    [
        (b"", "line 300: there is no text in it"),
        (b'{"text": " "}', "line 300: there is no text in it"),
        (b'{"text": "a', 'line 300: not a JSON object with a "text"'),
        (b'{"texts": "a"}', 'line 300: not a JSON object with a "text"'),
        (b"[1]", 'line 300: not a JSON object with a "text"'),
        (b"3", 'line 300: not a JSON object with a "text"'),
        (b'{"text": 3}', "line 300: there is no text in it"),
        (b'{"text": ["a", "b"]}', "line 300: rows of several texts cannot be judged from here"),
        (b'{"text": "\xff"}', "line 300: not UTF-8"),
    ],
)
def test_a_bad_line_is_named_after_the_lines_before_it_were_judged(folder, tmp_path, capsys, line, complaint):
    file = tmp_path / "texts.jsonl"
    file.write_bytes(b'{"text": "bara"}\n' * 299 + line + b'\n{"text": "bara"}\n')
    assert command.run(predict.main, [str(folder), "--file", str(file)]) == 2
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 299 and f"{file}, {complaint}" in told.err and "Traceback" not in told.err


@pytest.mark.parametrize("name", ["texts.jsonl", "texts.JSONL", "texts.ndjson", "texts.txt"])
def test_json_is_read_as_json_whatever_its_file_is_called(folder, tmp_path, capsys, name):
    (tmp_path / name).write_text('{"text": "bara"}\n')
    predict.main([str(folder), "--file", str(tmp_path / name)])
    assert json.loads(capsys.readouterr().out)["text"] == "bara"


def test_a_run_whose_files_were_damaged_is_told(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "run")
    decision = tmp_path / "run" / "model" / "one" / "decision.json"
    for harm, said in ((lambda: decision.write_text("{"), "damaged, no JSON"), (decision.unlink, "not there any more")):
        harm()
        assert command.run(predict.main, [str(tmp_path / "run"), "bara"]) == 2
        assert said in capsys.readouterr().err


def test_half_a_surrogate_pair_comes_out_as_it_went_in(folder, tmp_path, capsys):
    (tmp_path / "texts.jsonl").write_text('{"text": "bara \\ud800"}\n')
    predict.main([str(folder), "--file", str(tmp_path / "texts.jsonl")])
    assert json.loads(capsys.readouterr().out)["text"] == "bara \ud800"


def test_no_more_than_one_chunk_of_an_endless_file_is_read_ahead():
    lines = (b"word %d\n" % number for number in itertools.count())
    chunk = next(predict.chunks(predict.read(lines, "pipe", lambda line: False), predict.CHUNK))
    assert len(chunk) == predict.CHUNK and next(lines) == b"word %d\n" % predict.CHUNK


def test_standard_input_takes_both_forms_and_a_reader_that_leaves_ends_it_quietly(folder):
    """`head` closes the pipe while far more than its buffer holds is still to be written."""
    lines = 'printf \'bara deto\\n{"text": "fisi"}\\n\'; yes bara | head -3000'
    shell = f"({lines}) | {' '.join(CLI)} {folder} | head -2; echo ${{PIPESTATUS[1]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    first, second, status = done.stdout.splitlines()
    assert json.loads(first)["text"] == "bara deto" and json.loads(second)["text"] == "fisi"
    assert status == "0" and "rror" not in done.stderr


def test_texts_that_were_cut_are_counted(folder, capsys):
    predict.main([str(folder), "bara " * 5, "bara " * 10, "bara " * 30])
    assert "2 of 3 texts were too long and cut" in capsys.readouterr().err
    predict.main([str(folder), "bara"])
    assert "cut" not in capsys.readouterr().err


def test_a_terminal_shows_aligned_lines_with_the_most_probable_label_first():
    answers = {
        "tone": {"labels": ["glad", "calm"], "probabilities": {"calm": 0.6, "sad": 0.1, "glad": 0.7}},
        "topic": {"labels": [], "probabilities": {"news": 0.25}},
    }
    assert predict.readable("a text", answers).splitlines() == [
        "a text",
        "  tone   glad, calm  glad 0.700  calm 0.600  sad 0.100",
        "  topic  none        news 0.250",
    ]


def test_the_folder_of_a_node_stands_for_its_only_seed(folder, tmp_path):
    assert predict.finished(folder) == folder and predict.finished(folder.parent) == folder
    for seed in (1, 2):
        (tmp_path / "node" / f"seed-{seed}").mkdir(parents=True)
    with pytest.raises(predict.UserError, match="several seeds: choose one, such as .*seed-1"):
        predict.finished(tmp_path / "node")


def test_what_is_no_finished_run_is_told_with_what_to_do(folder, tmp_path, capsys):
    disk.write_json(tmp_path / "run.json", {"environment": {"command": "python -m rocl.train x.py"}})
    wrong = {
        tmp_path: "not finished",
        folder.parents[1]: str(folder),
        folder / "model": "no run",
        tmp_path / "x": "no run",
    }
    for path, message in wrong.items():
        assert command.run(predict.main, [str(path), "a text"]) == 2
        assert message in capsys.readouterr().err
    assert command.run(predict.main, [str(folder), "--file", str(tmp_path / "none.txt")]) == 2
    assert command.run(predict.main, [str(folder), "a", "--file", str(tmp_path / "none.txt")]) == 2
    assert command.run(predict.main, [str(folder), "--fille", "x"]) == 2
    assert "did you mean --file?" in capsys.readouterr().err


def test_it_starts_without_what_only_training_needs():
    code = "import sys, rocl.predict; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"sklearn", "tensorboard", "pandas", "torch.nn.attention.varlen"} & set(loaded)


def test_a_second_run_is_no_text_and_a_table_no_file_of_texts(folder, tmp_path, capsys):
    assert command.run(predict.main, [str(folder), str(folder)]) == 2
    assert "is a run too, and no text: give one run" in capsys.readouterr().err
    assert command.run(predict.main, [str(folder), "a text longer than a name may be " * 200]) == 0
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    assert command.run(predict.main, [str(folder), "--file", str(tmp_path / "a.csv")]) == 2
    assert "write its texts one a line" in capsys.readouterr().err
