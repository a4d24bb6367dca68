"""Proves that a study of your own corpus uses its weights, its twin and what you choose, and sees no test text."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import tiny
import torch

from experiments import bilingual, own, single
from experiments.single import carried_on
from rocl.data.corpus import Row
from rocl.errors import UserError
from rocl.experiment import Scale, graph


def corpus(*, weight=None, words="own"):
    """Forty rows of two labels, split by tens; of training rows perhaps with a weight."""
    splits = {}
    for split, size in (("train", 20), ("dev", 10), ("test", 10)):
        extras = [{"weight": weight * (n % 3)} if weight and split == "train" else {} for n in range(size)]
        splits[split] = [
            Row(f"{split}{n}", (f"{words} {split} {n}",), ("ab"[n % 2],), extra) for n, extra in enumerate(extras)
        ]
    return replace(tiny.task("one").corpus, name=words, labels=("a", "b"), read=lambda _: splits)


def compared(tmp_path, *arguments, **options):
    study = own.compared(Scale.SAMPLE, *arguments, max_length=16, epochs=1, **options)
    return {node.experiment.name: node for node in graph(study, Scale.SAMPLE, 1, tmp_path, tmp_path / "a.py")}


def test_the_systems_are_called_what_the_guide_calls_them(tmp_path):
    assert {"alone", "after-the-twin", "student"} < set(compared(tmp_path, corpus(), corpus(words="twin")))
    assert set(compared(tmp_path, corpus(), None)) == {"alone", "student", "own"}


def test_the_weight_of_a_row_multiplies_its_loss(tmp_path):
    (task,) = compared(tmp_path, corpus(weight=0.5), None)["alone"].experiment.tasks
    assert task.columns["weight"].tolist() == [0.5 * (n % 3) for n in range(20)]
    torch.manual_seed(0)
    logits, labels = torch.randn(20, 2), torch.eye(2)[torch.arange(20) % 2]
    weight = torch.from_numpy(task.columns["weight"])
    plain, weighted = (
        SimpleNamespace(kind="one", columns={"labels": labels} | more) for more in ({}, {"weight": weight})
    )
    torch.testing.assert_close(
        single.cross_entropy(logits, weighted), weight * single.cross_entropy(logits, plain), rtol=0, atol=0
    )
    assert "weight" not in compared(tmp_path, corpus(), None)["alone"].experiment.tasks[0].columns


def test_a_twin_that_holds_test_texts_is_refused(tmp_path):
    rows = {"train": corpus().splits["test"][:3], "dev": [], "test": []}
    with pytest.raises(UserError, match="seen: 3 training texts stand in dev or test of own: take them out"):
        compared(tmp_path, corpus(), replace(corpus(), name="seen", read=lambda _: rows))


def test_an_encoder_and_dropped_leaks_are_choices(tmp_path):
    chosen = tiny.checkpoint(tmp_path / "encoder")
    found = compared(tmp_path, corpus(), None, encoder=chosen, drop_leaks=True)["alone"].experiment
    assert found.model.keywords["checkpoint"] == chosen and found.tasks[0].drop_leaks


def test_an_encoder_that_is_made_for_the_corpus_is_what_all_its_systems_begin_with(tmp_path):
    """It reads training texts and their translations alone."""
    mine, translated = corpus(), replace(corpus(words="translated"), language="yy")
    nodes = compared(tmp_path, mine, translated, encoder=bilingual.made_for(Scale.SAMPLE, mine, translated))
    assert {"old-encoder", "bilingual", "bilingual-ready"} < set(nodes)
    for name in ("alone", "twin", "student"):
        assert nodes[name].needs["before"] is nodes["bilingual-ready"] and nodes[name].experiment.model is carried_on
    assert nodes["student"].needs["teacher"] is nodes["after-the-twin"]
    made = nodes["bilingual"].experiment.tasks.keywords
    tasks = [*made["bare"], *made["translated"]]
    held_out = {text for split in ("dev", "test") for row in mine.splits[split] for text in row.texts}
    assert [len(task.rows("train")) for task in tasks] == [
        20 - len(tasks[0].rows("dev")),
        20 - len(tasks[1].rows("dev")),
        20,
    ]
    assert not held_out & {text for task in tasks for row in task.rows("train") for text in row.texts}
    assert tasks[2].rows("train")[0].texts == ("translated train 0", "own train 0")
