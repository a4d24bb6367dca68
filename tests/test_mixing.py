"""Rows of another language join a task under its labels, and say only what they know."""

from dataclasses import replace

import numpy as np
import pytest

from rocl.data.corpus import Corpus, Row
from rocl.data.mixing import shared, unlabelled
from rocl.data.task import Task, column, rows
from rocl.errors import UserError


def task(name: str, labels: str, train: list[str], kind: str = "one") -> Task:
    """Labels and the labels of each training row as letters; one dev row."""
    splits = {
        "train": [Row(f"{n}", (f"{name} {n}",), tuple(row)) for n, row in enumerate(train)],
        "dev": [Row("dev", ("dev",), (labels[0],))],
    }
    corpus = Corpus(name=name, language=name, labels=tuple(labels), kind=kind, licence=name, read=lambda _: splits)
    return Task(name=name, corpus=corpus)


def test_rows_with_shared_labels_join_and_the_others_are_counted_and_told(capsys):
    own, other = task("own", "abc", ["a", "b", "c", "a"]), task("other", "xyz", ["x", "y", "z", "x"])
    made = shared(own, other, {"x": "b", "y": "c"})
    assert [row.id for row in made.rows("train")] == ["0", "1", "2", "3", "other/0", "other/1", "other/3"]
    assert [row.labels for row in made.rows("train")[4:]] == [("b",), ("c",), ("b",)]
    assert made.columns["known"].tolist() == [[1, 1, 1]] * 4 + [[0, 1, 1]] * 3
    assert made.columns["domain"].tolist() == [0] * 4 + [1] * 3
    assert made.rows("dev") == own.rows("dev")
    told = capsys.readouterr().err
    assert "3 training rows of other joined, 1 left out" in told and "x as b, y as c" in told
    assert "3 training rows of other joined" in made.corpus.note and made.corpus.licence == "own; other"
    assert made.digest != own.digest


def test_two_labels_may_mean_one_and_a_row_with_two_joins_where_many_are_allowed():
    other = task("other", "xyz", ["xy", "xz", "z"], kind="many")
    many = shared(task("own", "abc", ["ab"], kind="many"), other, {"x": "b", "y": "b", "z": "c"})
    assert [row.labels for row in many.rows("train")[1:]] == [("b",), ("b", "c"), ("c",)]
    one = shared(task("own", "abc", ["a"]), other, {"x": "b", "y": "b", "z": "c"})
    assert [row.labels for row in one.rows("train")[1:]] == [("b",), ("c",)]


def test_only_the_rows_that_the_other_task_keeps_join_and_columns_go_with_them():
    own = column(task("own", "ab", ["a", "b"]), soft=np.arange(4).reshape(2, 2))
    other = rows(column(task("other", "ab", ["a", "b", "a"]), soft=10 + np.arange(6).reshape(3, 2)), ["2", "1"])
    made = shared(own, other, {"a": "a"})
    assert [row.id for row in made.rows("train")] == ["0", "1", "other/2"]
    assert made.columns["soft"].tolist() == [[0, 1], [2, 3], [14, 15]]


def test_where_leaks_are_dropped_rows_of_the_other_that_stand_in_the_tasks_dev_texts_stay_out():
    own, other = task("own", "ab", ["a"]), task("other", "ab", ["a", "b"])
    splits = {"train": [replace(row, texts=("DEV ",)) for row in other.rows("train")[:1]] + other.rows("train")[1:]}
    other = replace(other, corpus=replace(other.corpus, read=lambda _: splits))
    assert len(shared(own, other, {"a": "a", "b": "b"}).rows("train")) == 3
    kept = shared(replace(own, drop_leaks=True), other, {"a": "a", "b": "b"})
    assert [row.id for row in kept.rows("train")] == ["0", "other/1"]


def test_a_wrong_name_and_a_column_that_only_one_has_are_refused():
    own, other = task("own", "ab", ["a"]), task("other", "xy", ["x"])
    with pytest.raises(UserError, match="'z' is no label"):
        shared(own, other, {"z": "a"})
    with pytest.raises(UserError, match="'c' is no label"):
        shared(own, other, {"x": "c"})
    with pytest.raises(UserError, match="has no column 'soft'"):
        shared(column(own, soft=np.zeros((1, 2))), other, {"x": "a"})


def test_texts_without_labels_are_the_rows_that_the_task_keeps_and_choose_nothing():
    bare = unlabelled(rows(task("own", "ab", ["a", "b", "a"]), ["2", "0"]), "text")
    assert [(row.texts, row.labels) for row in bare.rows("train")] == [(("own 2",), ()), (("own 0",), ())]
    assert bare.kind == "text" and bare.metric is None and bare.name == "text" and not bare.rows("dev")
