"""Proves that what cannot go well is found before step one, all of it at once, and that a dry run leaves nothing."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny

from rocl import check, train
from rocl.data.corpus import Corpus, Row
from rocl.data.task import Task, column, fold, rows, sample
from rocl.download import File
from rocl.errors import UserError
from rocl.experiment import Experiment, Scale, gather, graph, load
from rocl.losses import classify
from rocl.models.checkpoints import Checkpoint
from rocl.models.heads import Model, classification_head


def build(tasks, done, *, checkpoint):
    encoder = checkpoint.fresh() if checkpoint else done["first"].encoder()
    return Model(encoder, {task.name: classification_head(encoder, len(task.labels)) for task in tasks})


def objective(model, encoded, batch, progress):
    return {"loss": classify(model.heads[batch.task](encoded), batch.columns["labels"], kind=batch.kind)}


def taught(done, *, tasks):
    return [column(task, soft=done["first"].logits(task)) for task in tasks]


def made(tmp_path: Path, task: Task, **values) -> Experiment:
    model = partial(build, checkpoint=tiny.checkpoint(tmp_path / "encoder"))
    return Experiment(**dict(name="tiny", tasks=[task], model=model, objective=objective, steps=8) | values)


def checked(experiment: Experiment, tmp_path: Path) -> None:
    check.check(graph(experiment, Scale.SAMPLE, 1, tmp_path / "runs", Path(__file__)))


def corpus(train=(), dev=(), test=(), labels=("a", "b"), **values) -> Corpus:
    """A corpus of "text label" lines."""
    given = {"train": train, "dev": dev, "test": test}
    splits = {
        split: [Row(f"{split}-{n}", (text,), tuple(own.split())) for n, (text, own) in enumerate(lines)]
        for split, lines in given.items()
    }
    return Corpus(**dict(name="c", language="ro", labels=labels, licence="none", read=lambda paths: splits) | values)


GOOD = [("bara desi", "a"), ("fito gonu", "b")]


def test_a_good_task_is_told_in_numbers_and_not_refused(tmp_path, capsys):
    checked(made(tmp_path, tiny.task("one")), tmp_path)
    printed = capsys.readouterr().out
    assert "to train" in printed and "one: tiny-one" in printed and "of training left" in printed
    assert max(map(len, printed.split("\n\n")[1].splitlines())) <= check.WIDTH


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (dict(train=GOOD, dev=[]), "no dev rows"),
        (dict(train=[], dev=GOOD), "no training rows"),
        (dict(train=GOOD[:1], dev=GOOD), "no train row has the label b"),
        (dict(train=GOOD, dev=GOOD, labels=("a", "b", "c")), "no train row has the label c"),
        (dict(train=[("x", "a")], dev=[("x", "a")], labels=("a",)), "1 label is declared"),
        (dict(train=GOOD, dev=GOOD, kind="several"), "its labels are of kind 'several'"),
    ],
)
def test_rows_that_cannot_be_learned_from_are_refused(tmp_path, splits, message):
    with pytest.raises(UserError, match=f"^t: {message}"):
        checked(made(tmp_path, Task(name="t", corpus=corpus(**splits))), tmp_path)


def test_what_is_only_doubtful_is_told(tmp_path, capsys):
    train = [*GOOD, ("BARA  desi", "b"), ("", "b"), ("bara", "a"), ("bara", "a"), ("zzz", "")]
    checked(made(tmp_path, Task(name="t", corpus=corpus(train, GOOD[:1]), max_length=3)), tmp_path)
    printed = " ".join(capsys.readouterr().out.split())
    for text in (
        "t: no dev row has the label b; its scores are 0",
        "t: no test rows",
        "t: 2 training texts also stand in dev",
        "t: 1 training texts occur with different labels",
        "t: 1 train texts are empty",
        "t: 1 train rows have no label",
        "copies in train: 2",
        "of training texts are cut at 3 tokens; 32 are possible",
        "of training tokens are unknown",
    ):
        assert text in printed


def test_labels_that_look_alike_and_lists_of_one_label_are_told(tmp_path, capsys):
    rows = [("bara", "a"), ("desi", "A\u200b"), ("zar", "b")]
    several = replace(corpus(rows, rows), kind="many", labels=("a", "A\u200b", "b"))
    checked(made(tmp_path, Task(name="t", corpus=several, max_length=16)), tmp_path)
    printed = " ".join(capsys.readouterr().out.split())
    assert "labels that differ in case or unseen characters alone are different labels: 'a', 'A\\u200b'" in printed
    assert "t: no row has two labels: is its separator right, and many=True?" in printed


def test_weights_that_are_all_nought_are_refused(tmp_path):
    weightless = Task(name="t", corpus=corpus(GOOD, GOOD), columns={"weight": np.zeros(len(GOOD), np.float32)})
    with pytest.raises(UserError, match="t: all weights are 0: nothing can be learned"):
        checked(made(tmp_path, weightless), tmp_path)


@pytest.mark.parametrize("values", [{"epochs": "3"}, {"epochs": -1}, {"epochs": float("nan")}, {"steps": 2.5}])
def test_a_length_that_is_no_number_is_refused(values):
    with pytest.raises(UserError, match="experiment e: (epochs|steps) is .*: give a (whole )?number, 0 or more"):
        Experiment(name="e", **values)


@pytest.mark.parametrize("length", [None, "64", 32.5, 0])
def test_a_task_is_as_long_as_a_whole_number_of_tokens(length):
    with pytest.raises(UserError, match="task t: max_length is .*: give a whole number of tokens"):
        Task(name="t", corpus=corpus(GOOD, GOOD), max_length=length)


def test_a_text_longer_than_the_encoder_reads_is_refused_with_the_longest(tmp_path):
    with pytest.raises(UserError, match="max_length is 40, the encoder has positions for 32"):
        long = [(" ".join(["bara"] * 50), label) for label in "ab"]
        checked(made(tmp_path, Task(name="t", corpus=corpus(long, long), max_length=40)), tmp_path)


@pytest.mark.parametrize(("rows_of_table", "refused"), [(-3, True), (5, False)])
def test_more_ids_than_embeddings_are_refused_and_fewer_are_not(tmp_path, rows_of_table, refused):
    experiment = made(tmp_path, tiny.task("one"))
    file = tmp_path / "encoder" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"vocab_size": config["vocab_size"] + rows_of_table}))
    if not refused:
        return checked(experiment, tmp_path)
    with pytest.raises(UserError, match="the tokenizer has 35 ids, the encoder 32 embeddings"):
        checked(experiment, tmp_path)


@pytest.mark.parametrize("name", ["", "a/b", "../a", "v1.0", "a\\b"])
def test_names_that_would_be_other_folders_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="a task cannot be called"):
        replace(tiny.task("one"), name=name)
    if name != "v1.0":
        with pytest.raises(UserError, match="an experiment cannot be called"):
            made(tmp_path, tiny.task("one"), name=name)


def test_a_batch_of_no_rows_is_refused(tmp_path):
    with pytest.raises(UserError, match="batch is 0: give a whole number, 1 or more"):
        made(tmp_path, tiny.task("one"), batch=0)


def test_all_mistakes_are_told_at_once(tmp_path):
    wrong = replace(tiny.task("one"), metric="macro_f2", columns={"soft": np.zeros((7, 3))})
    with pytest.raises(UserError) as error:
        checked(made(tmp_path, wrong, evaluations=0, tasks=[wrong, wrong]), tmp_path)
    lines = str(error.value).splitlines()
    assert len(lines) == 4 and "evaluations is 0" in str(error.value) and "several tasks are called 'one'" in lines[0]
    assert "no metric 'macro_f2' (did you mean macro_f1?)" in str(error.value) and "7 rows, train has 60" in str(
        error.value
    )


def test_tasks_made_of_needs_are_checked_before_the_needs_are_done(tmp_path):
    short = Task(name="one", corpus=corpus(GOOD, []))
    first = made(tmp_path, tiny.task("one"), name="first")
    second = made(tmp_path, short, needs={"first": first}, tasks=partial(taught, tasks=[short]))
    with pytest.raises(UserError, match="one: no dev rows"):
        checked(second, tmp_path)


def test_all_missing_files_and_encoders_are_listed_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("ROCL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ROCL_OFFLINE", "1")
    monkeypatch.delenv("ROCL_WEIGHTS", raising=False)
    about = dict(folder="f", sha256="0" * 64, size=10, licence="free", url="http://127.0.0.1:9/x")
    files = [File(corpus=name, name=f"{name}.csv", **about) for name in "xyz"]
    x, y, z = (Task(name=f.corpus, corpus=corpus(files=(f,), read=lambda paths: {"train": []})) for f in files)
    encoder = Checkpoint("somebody/an-encoder-nobody-has")
    first = Experiment(name="first", tasks=[fold(x, 0, 2)], model=build, objective=objective, steps=1)
    second = replace(first, name="second", tasks=[y], model=partial(build, checkpoint=encoder))
    third = replace(first, name="third", needs={"a": first, "b": second}, tasks=partial(taught, tasks=[sample(z, 3)]))
    with pytest.raises(UserError) as error:
        graph(third, Scale.SAMPLE, 1, tmp_path / "runs", Path(__file__))
    for word in ("3 files", "x.csv", "y.csv", "z.csv", "127.0.0.1:9/x", "0" * 64, "free", encoder.name, "offline"):
        assert word in str(error.value)


def test_missing_files_are_listed_before_those_with_an_address_are_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("ROCL_DATA", str(tmp_path))
    for name in ("ROCL_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    fetched = []
    monkeypatch.setattr("rocl.experiment.fetch", fetched.append)
    about = dict(folder="f", sha256="0" * 64, size=10, licence="free", corpus="c")
    one, two = (File(name=name, url=url, **about) for name, url in (("one", "http://127.0.0.1:9/x"), ("two", None)))
    experiment = Experiment(name="e", tasks=[Task(name="t", corpus=corpus(files=(one,)))], model=build,
                            objective=objective, steps=1)  # fmt: skip
    gather(experiment)
    assert fetched == [one]
    both = replace(experiment, tasks=[Task(name="t", corpus=corpus(files=(one, two)))])
    with pytest.raises(UserError, match="1 of them cannot be downloaded"):
        gather(both)
    assert fetched == [one]


def test_a_cut_reads_no_file_before_its_rows_are_asked_for(tmp_path):
    def read(paths):
        raise AssertionError("read")

    task = Task(name="t", corpus=corpus(read=read))
    for cut in (sample(task, 3), fold(task, 0, 2), rows(task, ["x"]), sample(fold(task, 1, 3, held_out=True), 2)):
        with pytest.raises(AssertionError):
            cut.rows("train")


def test_the_columns_of_a_task_follow_a_cut():
    task = tiny.task("one")
    ids = [row.id for row in task.rows("train")]
    numbered = column(task, number=np.arange(len(ids)))
    part = sample(fold(numbered, 1, 3), 10)
    assert [ids[n] for n in part.columns["number"]] == [row.id for row in part.rows("train")]
    assert len(part.rows("train")) == 10
    with pytest.raises(UserError, match="no training row of tiny-one has the id 'nobody'"):
        rows(task, ["nobody"]).rows("train")


STUDY = """
from functools import partial
from pathlib import Path
import test_check as t, tiny
from rocl.experiment import Experiment

FOLDER = Path(__file__).parent

def experiment(scale):
    task = tiny.task("one", size=200)
    first = t.made(FOLDER, task, name="first", epochs=500, steps=None)
    student = t.made(FOLDER, task, name="student", needs={"first": first}, tasks=partial(t.taught, tasks=[task]))
    return Experiment(name="study", needs={"first": first, "student": student})
"""


def test_a_dry_run_takes_a_step_of_every_run_and_leaves_only_tokens(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    (tmp_path / "study.py").write_text(STUDY)
    seen, whole = [], train.fit

    def fit(experiment, model, tables, *rest):
        state = whole(experiment, model, tables, *rest)
        seen.append((experiment.name, state.step, len(tables[0]), sorted(tables[0].columns)))
        return state

    monkeypatch.setattr(train, "fit", fit)
    train.main([str(tmp_path / "study.py"), "--dry-run", "--out", str(tmp_path / "runs")])
    few = train.REHEARSED
    assert seen == [("first", 1, few, ["labels"]), ("student", 1, few, ["labels", "soft"])]
    assert "dry run: every run took a step" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["tokens"]


def test_a_need_that_is_not_there_is_told_with_the_nearest_name(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    (tmp_path / "mistaken.py").write_text(STUDY.replace('needs={"first": first}, ', 'needs={"frist": first}, '))
    experiment = load(tmp_path / "mistaken.py", Scale.SAMPLE)
    with pytest.raises(UserError, match=r"no need 'first' among frist \(did you mean frist\?\)"):
        train.rehearse(graph(experiment, Scale.SAMPLE, 1, tmp_path / "runs", tmp_path / "mistaken.py")[-1])
    assert not list((tmp_path / "runs").iterdir())
