"""The baselines see the rows a system sees, learn what words tell, and say the same twice."""

import json
import random
import re

import numpy as np
import pytest

from rocl.baselines import majority, probe, tfidf, words_of_any_script
from rocl.data.corpus import Corpus, Row
from rocl.data.task import Task, sample

WORDS = {"joy": "fericit vesel zâmbet", "fear": "teamă groază spaimă", "anger": "furie nervos țipăt"}


def task(kind: str = "one", sizes: dict[str, int] | None = None, labels: tuple[str, ...] = tuple(WORDS)) -> Task:
    """Rows of a few words that tell their labels, two of ten the other way, among words that tell nothing."""
    generator = random.Random(0)
    splits = {}
    for split, size in (sizes or {"train": 120, "dev": 40, "test": 40}).items():
        splits[split] = []
        for number in range(size):
            names = generator.sample(list(WORDS), 1 if kind == "one" or number % 3 else 2)
            told = names if generator.random() < 0.8 else generator.sample(list(WORDS), len(names))
            words = [generator.choice(WORDS[name].split()) for name in told] + [f"w{generator.randrange(30)}"] * 2
            splits[split].append(Row(f"{split}-{number}", (" ".join(words),), tuple(names)))
    corpus = Corpus(name="toy", language="ro", labels=labels, kind=kind, licence="none", read=lambda _: splits)
    return Task(name="toy", corpus=corpus)


@pytest.mark.parametrize("kind", ["one", "many"])
def test_words_that_tell_beat_the_majority_and_twice_is_the_same(kind):
    toy = task(kind)
    learned, most = tfidf(toy), majority(toy)
    for split in ("dev", "test"):
        assert learned[split]["macro_f1"] > 0.7 > 0.5 > most[split]["macro_f1"]
        assert list(learned[split]) == list(most[split])  # the same scores for a table
    assert learned == tfidf(toy)
    assert json.loads(json.dumps(learned)) == learned


def test_the_majority_is_that_of_train():
    toy = task()
    gold = toy.gold("train").sum(0)
    share = toy.gold("test").mean(0)[gold.argmax()]
    assert majority(toy)["test"]["accuracy"] == pytest.approx(share)
    assert majority(toy)["test"]["macro_f1"] == pytest.approx(2 * share / (1 + share) / 3)


def test_only_the_rows_of_the_task_are_learned_from():
    toy = task(sizes={"train": 2000, "dev": 40, "test": 200})
    assert tfidf(sample(toy, 12))["test"]["accuracy"] < tfidf(toy)["test"]["accuracy"]


def test_thresholds_come_from_dev_and_are_one_half_without_it():
    toy = task("many", {"train": 120, "dev": 40, "test": 40})
    tuned, plain = tfidf(toy), tfidf(task("many", {"train": 120, "dev": 0, "test": 40}))
    assert set(plain) == {"test"}
    assert plain["test"]["micro_f1"] == plain["test"]["redv2_authors/micro_f1"]
    assert tuned["dev"]["macro_f1"] >= np.mean(list(each_half(toy, "dev")))


def each_half(toy: Task, split: str):
    """F1 of every label at threshold one half: dev's rows stand as test, so that nothing is tuned."""
    rows = {"train": toy.corpus.splits["train"], "dev": [], "test": toy.corpus.splits[split]}
    corpus = Corpus(name="toy", language="ro", labels=toy.labels, kind="many", licence="none", read=lambda _: rows)
    scores = tfidf(Task(name="toy", corpus=corpus))["test"]
    return (scores[f"f1/{label}"] for label in toy.labels)


@pytest.mark.parametrize("kind", ["one", "many"])
def test_a_label_that_train_does_not_have_is_never_said(kind):
    scores = tfidf(task(kind, labels=(*WORDS, "absent")))["test"]
    assert scores["support/absent"] == scores["f1/absent"] == scores["recall/absent"] == 0
    assert scores["macro_f1"] > 0.5
    assert 0.7 < scores["macro_f1"] / tfidf(task(kind))["test"]["macro_f1"] < 0.76  # three quarters: it counts as 0


def test_a_probe_tells_what_lies_on_a_line_and_no_more():
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(300, 8))
    gold = np.stack([vectors[:, 0] > 0, vectors[:, 1] + vectors[:, 2] > 1, np.ones(300), np.zeros(300)], 1)
    gold = np.column_stack([gold, draw.integers(0, 2, 300)])  # the last is told by nothing
    said = probe(vectors[:200], gold[:200])(vectors[200:])
    right = ((said > 0) == gold[200:]).mean(0)
    assert said.shape == (100, 5) and (right[:2] > 0.9).all() and (right[2:4] == 1).all() and 0.3 < right[4] < 0.7


def test_a_probe_does_not_mind_the_scale_of_a_direction():
    draw = np.random.default_rng(1)
    vectors = draw.normal(size=(200, 4))
    gold = (vectors[:, :1] > 0).astype(np.uint8)
    one = probe(vectors, gold)(vectors)
    two = probe(vectors * [1e-3, 1, 1e3, 1] + 5, gold)(vectors * [1e-3, 1, 1e3, 1] + 5)
    np.testing.assert_allclose(one, two, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("words", [("😀 😃", "😡 😠"), ("好", "坏"), ("बहुत अच्छी", "बहुत बुरी")])
def test_texts_of_any_script_and_of_signs_alone_are_told_apart(words):
    splits = {
        split: [Row(f"{split}{n}", (words[n % 2],), ("ab"[n % 2],)) for n in range(size)]
        for split, size in (("train", 20), ("dev", 4), ("test", 4))
    }
    corpus = Corpus(name="signs", language="xx", labels=("a", "b"), kind="one", licence="none", read=lambda _: splits)
    assert tfidf(Task(name="signs", corpus=corpus))["test"]["accuracy"] == 1.0


def test_a_word_keeps_the_marks_that_spell_its_vowels_and_latin_words_are_what_they_were():
    pattern = re.compile(words_of_any_script())
    assert pattern.findall("बहुत अच्छी") == ["बहुत", "अच्छी"]
    latin = "Ce zi minunată, nu-mi vine să cred! 3.5 a I o'clock"
    assert pattern.findall(latin) == re.findall(r"(?u)\b\w\w+\b", latin)
