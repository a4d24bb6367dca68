"""Proves that soft labels are written once by the right teacher for the right rows, and are refused when stale."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import get_ident
from time import sleep
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from safetensors.numpy import load_file, save_file
from test_train import made, run

from rocl import predict
from rocl.data.task import column, fold
from rocl.errors import UserError
from rocl.experiment import Scale, graph

sys.path.insert(0, str(Path(__file__).parents[1]))
from experiments import mtkd, mtkd_variants  # noqa: E402
from experiments.scales import PARTS  # noqa: E402


@pytest.fixture
def teacher(tmp_path) -> predict.Done:
    experiment = made(tmp_path)
    run(experiment, tmp_path / "runs")
    (node,) = graph(experiment, Scale.SAMPLE, 1, tmp_path / "runs", Path(__file__))
    return predict.Done(node, {})


def test_logits_are_those_of_the_best_weights_in_the_order_of_the_rows(teacher):
    task = teacher.tasks()[0]
    logits = teacher.logits(task)
    model = predict.ready(teacher.model()).eval()
    (table,) = predict.tables(model, [task], "train", teacher.node.out)
    with torch.no_grad():
        one_by_one = [model.heads["one"](model.encode(table.batch(np.array([n])))).numpy() for n in range(len(table))]
    np.testing.assert_allclose(logits, np.concatenate(one_by_one), atol=1e-5 if model.precision.itemsize == 4 else 3e-2)


def test_logits_are_written_once_and_read_after_that(teacher, monkeypatch):
    task = teacher.tasks()[0]
    first = teacher.logits(task)
    monkeypatch.setattr(predict, "outputs", None)  # nothing can be computed any more
    np.testing.assert_array_equal(teacher.logits(task), first)
    np.testing.assert_array_equal(predict.Done(teacher.node, {}).logits(task), first)


def test_other_rows_another_length_and_another_head_have_outputs_of_their_own(teacher):
    one, many = teacher.tasks()
    teacher.logits(one)
    teacher.logits(fold(one, 0, 3))
    teacher.predict(one, "train", "many")
    teacher.predict(one, "dev", "one")
    teacher.logits(many)
    assert len(list((teacher.folder / "outputs").glob("*.safetensors"))) == 5


def test_of_two_that_need_the_same_outputs_one_makes_them_and_the_other_waits(teacher, monkeypatch):
    task, made_by, original = teacher.tasks()[0], [], predict.outputs

    def slow(*arguments):
        made_by.append(get_ident())
        sleep(0.5)
        return original(*arguments)

    monkeypatch.setattr(predict, "outputs", slow)
    with ThreadPoolExecutor(2) as two:
        one, other = two.map(teacher.logits, [task, task])
    np.testing.assert_array_equal(one, other)
    assert len(made_by) == 1


def test_outputs_that_were_made_from_other_weights_are_refused(teacher):
    task = teacher.tasks()[0]
    teacher.logits(task)
    (file,) = (teacher.folder / "outputs").glob("*.safetensors")
    save_file(load_file(file), file, metadata={"key": "others"})
    with pytest.raises(UserError, match="made from other weights or texts: remove it"):
        teacher.logits(task)


def test_damaged_outputs_are_told(teacher):
    task = teacher.tasks()[0]
    teacher.logits(task)
    (file,) = (teacher.folder / "outputs").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(UserError, match="is damaged .*: remove it"):
        teacher.logits(task)


def test_a_teacher_whose_weights_were_changed_is_refused(teacher):
    weights = teacher.folder / "weights.safetensors"
    save_file({name: value + 1 for name, value in load_file(weights).items()}, weights)
    with pytest.raises(UserError, match="is not what its run left there"):
        teacher.logits(teacher.tasks()[0])


def test_what_a_teacher_says_is_part_of_the_tasks_identity():
    task, soft = tiny.task("one"), np.zeros((60, 3), np.float32)
    digests = {
        t.digest for t in (task, column(task, soft=soft), column(task, soft=soft + 1e-6), column(task, hard=soft))
    }
    assert len(digests) == 4
    with pytest.raises(UserError, match="column soft has 59 rows, train has 60"):
        column(task, soft=soft[1:])


class Teacher:
    """Says its own number of every row, and remembers which rows it was asked about."""

    def __init__(self, number: float):
        self.number, self.asked = number, []

    def logits(self, task):
        self.asked += [row.id for row in task.rows("train")]
        return np.full((len(task.rows("train")), len(task.labels)), self.number, np.float32)


def test_out_of_fold_labels_come_from_the_teacher_that_has_not_seen_the_row():
    experiment = mtkd_variants.out_of_fold(Scale.SAMPLE)
    done = {name: Teacher(number) for number, name in enumerate(experiment.needs)}
    for task in experiment.tasks(done):
        rows = [row.id for row in task.rows("train")]
        names = [name for name in done if name.startswith(f"{task.name}-without-")]
        assert sorted(sum((done[name].asked for name in names), [])) == sorted(rows)  # each once
        for name in names:
            seen = {row.id for row in experiment.needs[name].tasks[0].rows("train")}
            assert seen and not seen & set(done[name].asked)
            labelled = {
                id for id, soft in zip(rows, task.columns["soft"], strict=True) if (soft == done[name].number).all()
            }
            assert labelled == set(done[name].asked)


def test_an_ensemble_is_the_mean_of_teachers_of_different_seeds():
    experiment = mtkd_variants.ensemble(Scale.SAMPLE)
    done = {name: Teacher(number) for number, name in enumerate(experiment.needs)}
    for task, part in zip(experiment.tasks(done), PARTS, strict=True):
        numbers = [teacher.number for name, teacher in done.items() if name.rpartition("-")[0] == part]
        assert len(numbers) == 3 and (task.columns["soft"] == np.mean(numbers)).all()
        assert {experiment.needs[f"{part}-{seed}"].seed for seed in mtkd_variants.SEEDS} == set(mtkd_variants.SEEDS)


def test_ensemble_and_single_teacher_share_the_run_of_the_same_seed(tmp_path):
    plain, three = (
        {
            node.folder
            for node in graph(e, Scale.SAMPLE, 1, tmp_path, Path(mtkd.__file__))
            if node.experiment.name != e.name
        }
        for e in (mtkd.experiment(Scale.SAMPLE), mtkd_variants.ensemble(Scale.SAMPLE))
    )
    assert plain < three and len(three) == 3 * len(plain)


def test_the_student_learns_from_the_teacher_at_first_and_from_gold_at_the_end():
    logits, soft = torch.randn(2, 5, 4).unbind()  # (R, C) each
    batch = SimpleNamespace(task="a", kind="one", columns={"soft": soft, "labels": torch.eye(4)[torch.arange(5) % 4]})
    model = SimpleNamespace(heads={"a": lambda encoded: encoded})
    first, last = (mtkd.objective(model, logits, batch, progress)["cross_entropy"] for progress in (0.0, 1.0))
    expected = torch.nn.functional.cross_entropy(logits, soft.softmax(-1), reduction="none")
    torch.testing.assert_close(first, expected)
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(5) % 4, reduction="none")
    torch.testing.assert_close(last, expected)
