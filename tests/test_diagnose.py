"""Proves that a diagnosis says of a finished run what slow counts over its texts, vectors and predictions say."""

import json
import os
import random
import shutil
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image
from sklearn.metrics import f1_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rocl import command, diagnose, disk, trace, train
from rocl.data import batches
from rocl.data.corpus import Corpus, Row
from rocl.data.mixing import shared
from rocl.data.task import Task
from rocl.experiment import Experiment, Scale
from rocl.losses import classify
from rocl.models.heads import Model, classification_head
from rocl.predict import Classifier

FILE = Path(__file__)
HALF = len(tiny.WORDS) // 2  # the words of language aa, then those of bb; each has its translation so many places on


def tongue(language: str, kind: str = "one") -> Corpus:
    """Rows of language aa, or their translations into bb; the first two words give the labels away."""

    def read(_) -> dict[str, list[Row]]:
        draw, shift = random.Random(kind), 0 if language == "aa" else HALF
        splits = {}
        for split, count in (("train", 60), ("dev", 24), ("test", 40)):
            splits[split] = []
            for number in range(count):
                own = draw.sample((0, 1), draw.choice((1, 2)) if kind == "many" else 1)
                places = [*draw.choices(range(2, HALF), k=draw.randint(1, 9)), *own]
                draw.shuffle(places)
                extra = {"source": ("web", "press")[number % 2]} | ({"pair": f"aa-{split}-{number}"} if shift else {})
                labels = tuple(("no", "yes")[place] for place in sorted(own))
                text = " ".join(tiny.WORDS[place + shift] for place in places)
                id = f"{language}-{split}-{number}" if kind == "one" else f"{kind}-{split}-{number}"
                splits[split].append(Row(id, (text,), labels, extra))
        return splits

    return Corpus(
        name=f"{kind}-{language}", language=language, labels=("no", "yes"), kind=kind, licence="none", read=read
    )


def bare(language: str) -> Corpus:
    def read(_) -> dict[str, list[Row]]:
        splits = tongue(language).splits
        return {split: [replace(row, labels=()) for row in splits[split]] for split in ("train", "dev")}

    return replace(tongue(language), name=f"bare-{language}", labels=(), kind="text", read=read)


def translations() -> Corpus:
    def read(_) -> dict[str, list[Row]]:
        sides = zip(*(tongue(language).splits["train"] for language in ("aa", "bb")), strict=True)
        return {"train": [Row(f"t{n}", one.texts + two.texts, ()) for n, (one, two) in enumerate(sides)]}

    return replace(tongue("aa"), name="translations", labels=(), kind="text", read=read)


def together(done, *, one: Task, other: Task) -> list[Task]:
    return [shared(one, other, {"no": "no", "yes": "yes"})]


def heads(encoder, tasks) -> Model:
    return Model(encoder, {task.name: classification_head(encoder, 2) for task in tasks if task.labels})


def fresh(tasks, done, *, checkpoint) -> Model:
    return heads(checkpoint.fresh(), tasks)


def carried_on(tasks, done) -> Model:
    return heads(done["before"].encoder(), tasks)


def gold(model, encoded, batch, progress):
    return {"loss": classify(model.heads[batch.task](encoded), batch.columns["labels"], kind=batch.kind)}


def nothing(model, table) -> dict[str, float]:
    return {"nothing": 0.0}


def experiment(scale: Scale) -> Experiment:
    """A run of both kinds of labels after one in another language, one of a single task, one whose task has rows of the
    other language too, and a bare encoder."""
    start = partial(fresh, checkpoint=tiny.checkpoint(Path(os.environ["TINY_ENCODER"])))
    values = dict(model=start, objective=gold, steps=120, batch=16, learning_rate=3e-3, evaluations=2)
    one, many, other = (
        Task(name=name, corpus=corpus, max_length=16)
        for name, corpus in (("one", tongue("aa")), ("many", tongue("aa", "many")), ("other", tongue("bb")))
    )
    texts = [Task(name=c.name, corpus=c, max_length=16, metric="nothing") for c in (bare("aa"), bare("bb"))]
    texts.append(Task(name="translations", corpus=translations(), max_length=16, metric=None))
    before = Experiment(name="before", tasks=[other], **values)
    after = {"needs": {"before": before}, "model": carried_on}
    runs = [
        Experiment(name="after", tasks=[one, many], **values | after),
        Experiment(name="alone", tasks=[one], **values | {"steps": 4}),
        Experiment(name="mixed", tasks=partial(together, one=one, other=other), **values | {"steps": 4}),
        Experiment(name="encoder", tasks=texts, judge=nothing, **values | {"steps": 0}),
    ]
    return Experiment(name="tongues", needs={run.name: run for run in runs})


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The runs of the experiment above, made by a command that names this file."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINY_ENCODER", str(folder / "encoder"))
        patch.setattr(sys, "argv", ["rocl/train.py", str(FILE)])
        assert command.run(train.main, [str(FILE), "--out", str(folder)]) == 0
        yield folder / "sample"


def test_ids_that_several_corpora_have_make_no_pairs_and_this_is_told(out):
    tasks = [Task(name=name, corpus=tongue(language)) for name, language in (("a", "aa"), ("b", "bb"), ("again", "aa"))]
    assert trace.parallel(tasks) == {"pairs of b, whose ids stand in a, again": []}
    (name, pairs), *_ = trace.parallel(tasks[:2]).items()
    assert name == "bb-aa pairs" and len(pairs) == 124
    assert all(
        tiny.WORDS.index(w) == tiny.WORDS.index(v) + HALF
        for v, w in zip(pairs[7][1].split(), pairs[7][0].split(), strict=True)
    )


def run(out: Path, name: str) -> Path:
    return next(out.glob(f"{name}-*/seed-1"))


@pytest.fixture(scope="module")
def diagnosed(out):
    """The tables of the run after another one, compared with the one alone."""
    diagnose.main([str(run(out, "after")), str(run(out, "alone"))])
    return disk.read_json(run(out, "after") / "diagnosis" / "numbers.json")


def predictions(folder: Path, task: str) -> list[dict]:
    return [json.loads(line) for line in (folder / "predictions" / f"{task}-test.jsonl").read_text().splitlines()]


def test_what_gives_a_language_away_is_found_and_what_cannot_is_not(diagnosed):
    """The languages share no word, so the mean of the embeddings tells all; the first token has no word in it yet."""
    rows = {(row["vectors"], row["layer"]): row for row in diagnosed["layers"]}
    assert list(rows) == [(v, layer) for v in ("mean", "first token") for layer in ("embeddings", "1", "2")]
    words = rows["mean", "embeddings"]
    assert words["aa-bb probe"] == 1 and words["aa-bb A-distance"] > 1.9
    blind = rows["first token", "embeddings"]
    assert (blind["aa-bb probe"], blind["aa-bb A-distance"]) == (0.5, 0) and blind["bb-aa pairs (124) forth"] < 0.01


def test_translations_are_found_as_often_as_texts_encoded_one_by_one_find_each_other(out, diagnosed):
    classifier, splits = Classifier(run(out, "after")), (tongue("bb").splits, tongue("aa").splits)
    sides = []
    for side in splits:
        rows = [row for rows in side.values() for row in rows]
        table = batches.table(
            Task(
                name="all",
                corpus=replace(
                    tongue("aa"),
                    labels=(),
                    kind="text",
                    read=lambda _, r=rows: {"test": [replace(x, labels=()) for x in r]},
                ),
                max_length=16,
            ),
            "test",
            classifier.tokenizer,
            None,
        )
        model = classifier.model.eval()
        tokens = [model.encode(table.batch(np.array([n]))).tokens for n in range(len(rows))]
        sides.append(np.stack([t.detach().numpy().mean(0) for t in tokens]))
    found = []
    for query, answers in (sides, sides[::-1]):
        near = [[v @ w / np.linalg.norm(v) / np.linalg.norm(w) for w in answers] for v in query]
        best = [[n for n, c in enumerate(cosines) if c > max(cosines) - 1e-6] for cosines in near]
        found.append(np.mean([(n in b) / len(b) for n, b in enumerate(best)]))
    row = next(row for row in diagnosed["layers"] if (row["vectors"], row["layer"]) == ("mean", "2"))
    assert [row[f"bb-aa pairs (124) {way}"] for way in ("forth", "back")] == pytest.approx(found, abs=0.02)


def test_scores_of_the_groups_make_up_those_of_the_run(out, diagnosed):
    scores = disk.read_json(run(out, "after") / "done")["scores"]
    for task in ("one", "many"):
        rows = [row for row in diagnosed["scores"] if row["task"] == task]
        (whole,) = [row for row in rows if row["by"] == "all"]
        assert (whole["language"], whole["texts"]) == ("aa", 40)
        assert whole["accuracy"] == pytest.approx(scores[task]["test"]["accuracy"])
        assert whole["macro-F1"] == pytest.approx(scores[task]["test"]["macro_f1"])
        for by in ("tokens", "source"):
            parts = [(row["texts"], row["accuracy"]) for row in rows if row["by"] == by]
            assert len(parts) > 1 and sum(n for n, _ in parts) == 40
            assert sum(n * accuracy for n, accuracy in parts) / 40 == pytest.approx(whole["accuracy"])
        lines = [line for line in predictions(run(out, "after"), task) if int(line["id"].split("-")[-1]) % 2]
        right = np.mean([set(line["gold"]) == set(line["predicted"]) for line in lines])
        assert [row["accuracy"] for row in rows if row["of"] == "press"] == [pytest.approx(right)]


def test_a_head_judges_the_other_language_as_predict_does(out, diagnosed):
    (row,) = diagnosed["transfer"]
    assert (row["head"], row["task there"], row["texts there"]) == ("one", "other", 40)
    rows = tongue("bb").splits["test"]
    said = [answer["one"]["labels"][0] for answer in Classifier(run(out, "after"))([r.texts[0] for r in rows])]
    there = f1_score([row.labels[0] for row in rows], said, labels=["no", "yes"], average="macro")
    home = disk.read_json(run(out, "after") / "done")["scores"]["one"]["test"]["macro_f1"]
    assert row["F1 there"] == pytest.approx(there) and row["gap"] == pytest.approx(there - home)
    report = (run(out, "after") / "diagnosis" / "report.md").read_text()
    assert (
        "The head of many cannot judge other: 2 labels are shared of 2 and 2; a text has many here, one there."
        in report
    )


def test_classes_are_counted_and_measured_for_every_pair_of_tasks(diagnosed):
    rows = diagnosed["classes"]
    assert {(row["tasks"], row["label"], row["vectors"]) for row in rows} == {
        (f"{task}, other", label, vectors)
        for task in ("one", "many")
        for label in ("no", "yes")
        for vectors in ("mean", "first token")
    }
    counts = [Counter(label for r in tongue(x).splits["test"] for label in r.labels)["no"] for x in ("aa", "bb")]
    assert rows[0]["texts"] == ", ".join(map(str, counts)) and 0 < rows[0]["across"] < 2


def test_calibration_is_that_of_the_predictions(out, diagnosed):
    lines = predictions(run(out, "after"), "one")
    error = 0.0
    for low in range(15):
        inside = [x for x in lines if low / 15 < max(x["probabilities"].values()) <= (low + 1) / 15]
        gap = sum(x["gold"] == x["predicted"] for x in inside) - sum(max(x["probabilities"].values()) for x in inside)
        error += abs(gap) / len(lines)
    assert [row["ECE"] for row in diagnosed["calibration"]][0] == pytest.approx(error)


def test_two_runs_are_compared_text_by_text(out, diagnosed):
    sides = [predictions(run(out, name), "one") for name in ("after", "alone")]
    right = Counter(tuple(line["gold"] == line["predicted"] for line in pair) for pair in zip(*sides, strict=True))
    (row,) = diagnosed["agreement"]
    after, alone = (f"only {run(out, name).parent.name} seed-1 right" for name in ("after", "alone"))
    assert [row["both right"], row[after], row[alone]] == [right[True, True], right[True, False], right[False, True]]
    assert row["decided otherwise"] == right[True, False] + right[False, True] > 0
    assert len(diagnosed["disagreement"]) == min(20, row["decided otherwise"])
    sure = []
    for told in diagnosed["disagreement"]:
        pair = [next(line for line in side if line["id"] == told["id"]) for side in sides]
        (wrong,) = [line for line in pair if line["gold"] != line["predicted"]]
        sure.append(wrong["probabilities"][wrong["predicted"][0]])
        assert f"{wrong['predicted'][0]} {sure[-1]:.2f}, not {wrong['gold'][0]}" in " ".join(map(str, told.values()))
    assert sure == sorted(sure, reverse=True)
    assert (
        "alone" in (text := (run(out, "after") / "diagnosis" / "report.md").read_text())
        and "did not learn many" in text
    )


@pytest.mark.parametrize(
    ("gold", "predicted", "sure", "told"),
    [
        (["a"], ["a"], [], "a 0.50"),
        (["a"], ["b"], [0.3], "b 0.30, not a 0.50"),
        (["a"], ["a", "b", "c"], [0.3, 0.2], "a 0.50, b 0.30, c 0.20"),
        (["a", "b"], [], [0.5, 0.7], "not a 0.50, not b 0.30"),
        ([], [], [], "none"),
    ],
)
def test_a_wrong_decision_is_as_sure_as_what_it_gave_or_else_withheld(gold, predicted, sure, told):
    line = {"gold": gold, "predicted": predicted, "probabilities": {"a": 0.5, "b": 0.3, "c": 0.2}}
    assert diagnose.mistakes(line) == pytest.approx(sure) and diagnose.spelled(line) == told


def test_report_pictures_and_board_stand_in_the_run_once_however_often_it_is_diagnosed(out, diagnosed, capsys):
    folder = run(out, "after")
    before = (folder / "diagnosis" / "report.md").read_text()
    diagnose.main([str(folder), str(run(out, "alone"))])
    assert capsys.readouterr().out.strip() == before.strip() == (folder / "diagnosis" / "report.md").read_text().strip()
    for name in ("layers", "scores", "calibration"):
        assert f"![{name}]({name}.png)" in before and min(Image.open(folder / "diagnosis" / f"{name}.png").size) > 300
    assert len(list((folder / "tensorboard").glob("events.*.diagnosis"))) == 1
    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert {f"diagnosis/{name}" for name in ("layers", "scores", "calibration")} <= set(board.Tags()["images"])
    curve = board.Scalars("diagnosis_by_layer/aa-bb probe/mean")
    probe = [row["aa-bb probe"] for row in diagnosed["layers"] if row["vectors"] == "mean"]
    assert [event.step for event in curve] == [0, 1, 2] and [event.value for event in curve] == pytest.approx(probe)


def test_a_run_of_one_language_says_what_it_lacks(out, capsys):
    diagnose.main([str(run(out, "alone"))])
    said = capsys.readouterr().out
    for line in (
        "No language probe: aa alone, in the tasks of the run and of all it needed.",
        "No retrieval: no translations in the tasks of the run and of all it needed (--pairs FILE gives some).",
        "No labels of a second language, in the tasks of the run and of all it needed.",
        "aa is the only language that the run has learned labels of.",
        "Name a second run to see where the two disagree.",
    ):
        assert f"\n{line}\n" in said


@pytest.mark.parametrize("name", ["pairs.tsv", "pairs.jsonl"])
def test_translations_may_come_from_a_file(out, tmp_path, name, capsys):
    pairs = [("bara besi", "lusi luto"), ("deto deto", "mara mape"), ("fisi", "gonu")]
    lines = [
        "\t".join(pair) if name.endswith("tsv") else json.dumps(dict(zip("ab", pair, strict=True))) for pair in pairs
    ]
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    diagnose.main([str(run(out, "alone")), "--pairs", str(tmp_path / name)])
    assert "pairs (3) forth" in capsys.readouterr().out
    (tmp_path / name).write_text("\n".join([*lines, "alone"]) + "\n")
    assert command.run(diagnose.main, [str(run(out, "alone")), "--pairs", str(tmp_path / name)]) == 2
    assert f"{tmp_path / name}, row 4: not two texts" in capsys.readouterr().err


def test_a_bare_encoder_is_heard_in_bare_text_and_translations(out):
    diagnose.main([str(run(out, "encoder"))])
    numbers = disk.read_json(run(out, "encoder") / "diagnosis" / "numbers.json")
    assert numbers["layers"][0]["aa-bb probe"] == 1 and "translations (60) forth" in numbers["layers"][0]
    assert numbers["scores"] == numbers["calibration"] == numbers["transfer"] == []
    assert "The run learned no labels." in (run(out, "encoder") / "diagnosis" / "report.md").read_text()


def test_labels_of_two_names_are_one_class_where_it_is_said(out, capsys):
    """Said so, it goes before the names: here the labels change places, and the head is right where it was wrong."""
    after = run(out, "after")
    diagnose.main([str(after)])
    (named,) = disk.read_json(after / "diagnosis" / "numbers.json")["transfer"]
    capsys.readouterr()
    diagnose.main([str(after), "--same", "no=yes"])
    said = capsys.readouterr().out
    assert "| one, other | no = yes |" in said and "| one, other | no |" not in said
    (turned,) = disk.read_json(after / "diagnosis" / "numbers.json")["transfer"]
    rows = tongue("bb").splits["test"]
    answers = [answer["one"]["labels"][0] for answer in Classifier(after)([row.texts[0] for row in rows])]
    other = {"no": "yes", "yes": "no"}
    f1 = f1_score([other[row.labels[0]] for row in rows], answers, labels=["no", "yes"], average="macro")
    assert turned["F1 there"] == pytest.approx(f1) and f1 != named["F1 there"]


@pytest.mark.parametrize(
    ("same", "complaint"),
    [
        (["no=yess"], "'yess' is no label of the tasks of the run"),
        (["no=yess"], "did you mean yes?"),
        (["no"], "'no' is not of the form A=B"),
        (["no=yes=no"], "'no=yes=no' is not of the form A=B"),
        (["no=yes", "no=no"], "no stands for two labels of one or other: choose one"),
    ],
)
def test_a_wrong_map_of_labels_is_told(out, capsys, same, complaint):
    assert command.run(diagnose.main, [str(run(out, "after")), "--same", *same]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("rocl: --same: ") and complaint in said


def test_rows_that_a_task_has_from_another_corpus_do_not_speak_for_its_language(out):
    """Half of its training rows are in the other language, under its own labels."""
    diagnose.main([str(run(out, "mixed"))])
    numbers = disk.read_json(run(out, "mixed") / "diagnosis" / "numbers.json")
    sizes = [(row["task"], row["learned"], row["train"]) for row in numbers["texts"]]
    assert sizes == [("one", "yes", 120), ("other", "", 60)]
    assert numbers["layers"][0]["aa-bb probe"] == 1
    (task,) = together({}, one=Task(name="one", corpus=tongue("aa")), other=Task(name="other", corpus=tongue("bb")))
    train, held = trace.halves(task)
    assert {row.id.split("-")[0] for row in train} == {"aa"} and len(held) == 40


def test_what_is_learned_from_is_never_measured_on():
    """A text that stands in train and in test is not learned from; what holds nothing out is halved."""
    task = Task(name="many", corpus=tongue("aa", "many"))
    train, held = ({row.texts for row in rows} for rows in trace.halves(task))
    assert {row.texts for row in task.rows("train")} & held and train and not train & held
    train, held = trace.halves(Task(name="t", corpus=translations()))
    assert len(train) == len(held) == 30 and not {row.id for row in train} & {row.id for row in held}


def test_the_copy_in_the_run_takes_the_place_of_a_file_that_is_gone(out, tmp_path, monkeypatch, capsys):
    """It stands in another folder, so its functions have other names and the report says that the identity differs."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "sample" / run(out, "alone").parent.name / "seed-1"
    shutil.copytree(run(out, "alone"), folder)
    record = disk.read_json(folder / "run.json")
    record["environment"]["command"] = "train.py gone.py"
    disk.write_json(folder / "run.json", record)
    diagnose.main([str(folder)])
    copy = folder / "source" / "experiments" / FILE.name
    assert f"{copy} makes another run today: other model, objective." in capsys.readouterr().out
    del sys.modules[f"experiments.{FILE.stem}"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"file": "gone.py"}, "no such experiment file"),
        ({"values": {"name": "gone", "scale": "sample"}}, "makes no experiment called gone"),
    ],
)
def test_a_run_that_leads_nowhere_names_its_command(out, tmp_path, capsys, monkeypatch, change, complaint):
    monkeypatch.setattr(sys, "path", list(sys.path))
    shutil.copytree(run(out, "alone"), tmp_path / "sample" / "x" / "seed-1")
    record = disk.read_json(tmp_path / "sample" / "x" / "seed-1" / "run.json")
    disk.write_json(tmp_path / "sample" / "x" / "seed-1" / "run.json", record | change)
    assert command.run(diagnose.main, [str(tmp_path / "sample" / "x" / "seed-1")]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert complaint in said and f"it was made by `python -m rocl.train {FILE}`" in said


def test_a_corpus_that_has_changed_is_refused(out, tmp_path, capsys):
    folder = tmp_path / "sample" / run(out, "alone").parent.name / "seed-1"
    shutil.copytree(run(out, "alone"), folder)
    record = disk.read_json(folder / "data.json")
    record["one"]["digest"] = "0" * 16
    disk.write_json(folder / "data.json", record)
    assert command.run(diagnose.main, [str(folder)]) == 2
    assert "the corpus of one is no longer what the run read" in capsys.readouterr().err


def test_runs_judged_on_other_labels_are_not_compared(out, tmp_path, capsys):
    folder = tmp_path / "sample" / run(out, "alone").parent.name / "seed-1"
    shutil.copytree(run(out, "alone"), folder)
    path = folder / "predictions" / "one-test.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    assert command.run(diagnose.main, [str(run(out, "after")), str(folder)]) == 2
    assert "has other rows or labels: compare runs on the same ones" in capsys.readouterr().err


def test_a_folder_that_is_no_finished_run_is_told_in_a_line(out, tmp_path, capsys):
    assert command.run(diagnose.main, [str(tmp_path)]) == 2
    assert f"{tmp_path} is no run's folder" in capsys.readouterr().err
    shutil.copytree(run(out, "alone"), tmp_path / "seed-1")
    (tmp_path / "seed-1" / "done").unlink()
    assert command.run(diagnose.main, [str(tmp_path)]) == 2
    assert "is not finished: the command that began it goes on with it" in capsys.readouterr().err
