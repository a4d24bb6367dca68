"""Bare text holds each training passage once and nothing that is judged on; translations can be taken side by side."""

import lzma
from pathlib import Path

import numpy as np
import pytest
from test_files import put

from rocl.data.corpus import Corpus, Row
from rocl.data.task import Task
from rocl.data.text import apart, cut, joined, passages, plain, side, translations
from rocl.errors import UserError
from rocl.metrics import retrieval


def corpus(name: str, **splits: list[tuple[str, ...]]) -> Corpus:
    rows = {s: [Row(f"{s}-{n}", texts, ()) for n, texts in enumerate(of)] for s, of in splits.items()}
    return Corpus(name=name, language="xx", labels=(), kind="text", licence=f"licence of {name}", read=lambda _: rows)


def all_texts(made: Corpus) -> list[str]:
    return [text for rows in made.splits.values() for row in rows for text in row.texts]


def test_passages_are_training_texts_once_each_and_none_that_is_held_out():
    one = corpus("one", train=[("A  b c d e",), ("Known by  Heart",), ("short",)], dev=[("dev text",)])
    two = corpus("two", train=[("SHORT",), ("a title", "held out"), ("rest",)], test=[("held OUT",)])
    judge = corpus("judge", train=[("rest",)], test=[("known by heart",)])
    made = passages("all", "xx", [one, two], without=[two, judge], words=3)
    assert sorted(all_texts(made)) == ["A b", "c d e", "rest", "short"]
    assert made.kind == "text" and made.licence == "licence of one; licence of two"
    assert "without what two, judge hold out" in made.note


def test_one_passage_in_fifty_is_dev_by_its_hash_whatever_stands_beside_it():
    rows = [(f"text number {n}",) for n in range(5000)]
    many = passages("many", "xx", [corpus("c", train=rows)]).splits
    few = passages("few", "xx", [corpus("c", train=rows[::-3])]).splits
    assert 60 < len(many["dev"]) < 140 and len(many["train"]) + len(many["dev"]) == 5000
    assert {row.id for row in few["dev"]} <= {row.id for row in many["dev"]}


@pytest.mark.parametrize(("words", "lengths"), [(10, [7]), (7, [7]), (6, [3, 4]), (3, [2, 2, 3]), (1, [1] * 7)])
def test_a_text_is_cut_into_equal_passages(words, lengths):
    text = "unu doi trei patru cinci șase șapte"
    parts = list(cut(text, words))
    assert [len(part.split()) for part in parts] == lengths and " ".join(parts) == text
    assert list(cut("  ", words)) == []


def test_text_files_give_a_row_a_line_that_is_not_empty(tmp_path):
    paths = put(tmp_path / "a.txt", "unu\n\n doi\n"), put(tmp_path / "b.txt.xz", lzma.compress(b"trei"))
    rows = plain("files", "ro", *paths).splits["train"]
    assert [(Path(row.id).name, *row.texts) for row in rows] == [
        ("a.txt-1", "unu"),
        ("a.txt-3", "doi"),
        ("b.txt.xz-1", "trei"),
    ]


def test_splits_of_several_corpora_are_joined_with_ids_of_their_own():
    one, two = corpus("one", train=[("a", "b")], test=[("c", "d")]), corpus("two", train=[("e", "f")])
    made = joined("both", train=[(one, "train"), (two, "train")], dev=[(one, "test")])
    assert {split: [row.id for row in rows] for split, rows in made.splits.items()} == {
        "train": ["one-train-train-0", "two-train-train-0"],
        "dev": ["one-test-test-0"],
    }
    assert made.note == "train: one train, two train; dev: one test"


def test_a_side_of_translations_keeps_ids_and_one_text():
    task = Task(name="pairs", corpus=corpus("one", train=[("a", "b"), ("c", "d")], dev=[("e", "f")]))
    english, other = side(task, 0), side(task, 1)
    assert [row.texts for row in other.rows("train")] == [("b",), ("d",)] and other.rows("dev")[0].texts == ("f",)
    assert [row.id for row in english.rows("train")] == [row.id for row in task.rows("train")]
    assert len({task.digest, english.digest, other.digest}) == 3


def test_translations_are_the_texts_of_rows_of_one_id():
    one, other = (
        corpus("one", train=[("a", "b")], test=[("c",)]),
        corpus("two", train=[("A B",)], test=[("C",), ("D",)]),
    )
    assert [row.texts for rows in translations(one, other).splits.values() for row in rows] == [
        ("a b", "A B"),
        ("c", "C"),
    ]
    with pytest.raises(UserError, match="one has no row test-1, which two has: give translated rows the same id"):
        translations(other, one).splits  # noqa: B018


def test_training_rows_that_share_a_text_with_dev_or_test_are_left_out():
    made = apart(corpus("c", train=[("a", "b"), ("x", "Y  y"), ("c", "z")], dev=[("q", "C")], test=[("y y", "k")]))
    assert [row.texts for row in made.splits["train"]] == [("a", "b")] and len(made.splits["dev"]) == 1
    assert "left out" in made.note


def test_retrieval_counts_nearest_neighbours_both_ways():
    draw = np.random.default_rng(0)
    queries, answers = draw.normal(size=(40, 8)), draw.normal(size=(40, 8))
    answers[:25] = queries[:25] * draw.uniform(0.1, 5, (25, 1))
    found = retrieval(queries, answers)

    def slow(one: np.ndarray, two: np.ndarray) -> float:
        cosine = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in two] for a in one]
        return float(np.mean([np.argmax(row) == n for n, row in enumerate(cosine)]))

    assert found["retrieval/forth"] == slow(queries, answers) and found["retrieval/back"] == slow(answers, queries)
    assert found["retrieval"] == pytest.approx((found["retrieval/forth"] + found["retrieval/back"]) / 2)
    copies = np.repeat(queries[:10], 2, axis=0)
    assert retrieval(copies, copies)["retrieval"] == 0.5
    assert retrieval(np.ones((20, 4)), np.ones((20, 4)))["retrieval"] == pytest.approx(0.05)  # all in one place
