"""Proves that what is measured of a head is what it says: calibration, and disagreements, 0 where nothing differs."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from tiny import checkpoint, task
from torch.testing import assert_close

from experiments import effects, encoders
from experiments.single import classifiers
from rocl.data.augment import by_turns, swapped, views
from rocl.data.batches import twice
from rocl.losses import disagreement
from rocl.models.heads import Model, by_text, outputs
from rocl.probes import calibration


def headed(folder, corpus, dropout: float) -> Model:
    torch.manual_seed(0)
    learned = classifiers(checkpoint(folder, dropout).fresh(), [corpus])
    model = encoders.Frozen(learned.encoder)
    model.heads = learned.heads
    with torch.no_grad():  # far from undecided
        for weight in model.heads.parameters():
            weight.mul_(30)
    return model


def changed(row, copy):
    return by_turns(row, copy, operations=[partial(swapped, alpha=0.5)], seed=0)


@pytest.mark.parametrize("kind", ["one", "many"])
def test_passes_disagree_by_what_dropout_does_and_by_nothing_without(tmp_path, kind):
    corpus = task("a", kind=kind)
    judge = partial(effects.judge_head, head="a", kind=kind)
    still = headed(tmp_path, corpus, 0.0)
    found = judge(still, still.table(corpus, "dev"))
    assert found["passes"] == 0 and not still.training
    model = headed(tmp_path, corpus, 0.4)
    table = model.table(corpus, "dev")
    torch.manual_seed(1)
    found = judge(model, table)
    torch.manual_seed(1)
    (rows,) = table.cut(np.arange(len(table)), 4096)  # 24 short texts are one batch
    with torch.no_grad():
        logits = model.train().heads["a"](by_text(model.encode(twice(table.batch(rows)))))
    one, two = logits.float().unflatten(0, (-1, 2)).unbind(1)
    assert found["passes"] > 0.001
    assert_close(found["passes"], disagreement(one, two, kind=kind).mean().item(), rtol=1e-4, atol=0)
    logits = outputs(model, table, model.heads["a"])
    probable = effects.probabilities(logits, kind)
    assert found["ECE"] == calibration(probable, table.columns["labels"], kind)[0]["ECE"] > 0


def test_variants_disagree_where_they_are_said_to_be_different(tmp_path):
    corpus = task("a")
    model = headed(tmp_path, corpus, 0.4)
    pairs = model.table(views(corpus, changed), "dev")
    found = effects.judge_head(model, pairs, head="a", kind="one")
    sides = [replace(corpus, corpus=replace(corpus.corpus, read=partial(side, pairs.task, n))) for n in (0, 1)]
    one, two = (torch.from_numpy(outputs(model, model.table(each, "dev"), model.heads["a"])) for each in sides)
    assert_close(found["variants"], disagreement(one, two, kind="one").mean().item(), rtol=1e-4, atol=1e-7)
    assert set(found) == {"variants"} and found["variants"] > 0


def side(pairs, number, paths):
    """The first or the second text of each row alone."""
    return {"dev": [replace(row, texts=row.texts[number : number + 1], labels=("a0",)) for row in pairs.rows("dev")]}
