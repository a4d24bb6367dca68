"""Proves that what is measured of a head is what it says: calibration, and disagreements, 0 where nothing differs."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import checkpoint, task
from torch.testing import assert_close

from experiments import effects, encoders, tasks_together
from experiments.scales import setting
from experiments.single import alone, classifiers
from rocl import report, train
from rocl.data.batches import twice
from rocl.decisions import probabilities
from rocl.experiment import Experiment, Scale, graph
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


@pytest.mark.parametrize("kind", ["one", "many"])
def test_passes_diverge_by_what_dropout_does_and_by_nothing_without(tmp_path, kind):
    corpus = task("a", kind=kind)
    judge = partial(effects.of_head, head="a", kind=kind)
    still = headed(tmp_path, corpus, 0.0)
    assert judge(still, still.table(corpus, "dev"))["passes_divergence"] == 0 and not still.training
    model = headed(tmp_path, corpus, 0.4)
    table = model.table(corpus, "dev")
    torch.manual_seed(1)
    found = judge(model, table)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == after, "what is measured draws from the run's own random numbers"
    torch.manual_seed(1)
    (rows,) = table.cut(np.arange(len(table)), 4096)  # 24 short texts are one batch
    with torch.no_grad():
        logits = model.train().heads["a"](by_text(model.encode(twice(table.batch(rows)))))
    one, two = logits.float().unflatten(0, (-1, 2)).unbind(1)
    assert found["passes_divergence"] > 0.001
    assert_close(found["passes_divergence"], disagreement(one, two, kind=kind).mean().item(), rtol=1e-4, atol=0)
    probable = probabilities(outputs(model, table, model.heads["a"]), kind)
    assert found["ece"] == calibration(probable, table.columns["labels"], kind)[0]["ECE"] > 0


def test_variants_diverge_by_what_the_head_says_of_one_and_of_the_other(tmp_path, monkeypatch):
    corpus = task("a")
    monkeypatch.setattr(effects, "setting", lambda scale: SimpleNamespace(romanian={"a": corpus}))
    two = effects.variants.__wrapped__(Scale.SAMPLE, "a", "retrieval")
    assert [len(row.texts) for row in two.rows("test")] == [2] * 24
    model = headed(tmp_path, corpus, 0.4)
    found = effects.of_head(model, model.table(two, "test"), head="a", kind="one")
    sides = [replace(corpus, corpus=replace(corpus.corpus, read=partial(side, two, number))) for number in (0, 1)]
    said = [torch.from_numpy(outputs(model, model.table(each, "test"), model.heads["a"])) for each in sides]
    assert_close(found["variants_divergence"], disagreement(*said, kind="one").mean().item(), rtol=1e-4, atol=1e-7)
    assert set(found) == {"variants_divergence"} and found["variants_divergence"] > 0


def side(two, number, paths):
    """The first or the second text of each row alone."""
    rows = two.rows("test")
    return {"test": [replace(row, texts=row.texts[number : number + 1], labels=("a0",)) for row in rows]}


def test_the_report_has_what_was_measured_beside_what_was_learned(tmp_path):
    stage = replace(alone(Scale.SAMPLE, setting(Scale.SAMPLE).romanian["emotion"]), steps=1, epochs=None)
    each = [measure(Scale.SAMPLE, "emotion", stage) for measure in (effects.measured, effects.heard)]
    study = Experiment(name="study", needs={one.name: one for one in each})
    nodes = graph(study, Scale.SAMPLE, 1, tmp_path, Path(effects.__file__))
    done = [run for run in train.walk(nodes) if run.node.experiment.objective]
    found = report.report(done, tmp_path)
    for name in ("language_probe", "across_others", "retrieval", "passes_divergence", "variants_divergence", "ece"):
        assert f"| {name} |" in found


def test_a_task_s_share_is_its_loss_times_the_weight_that_was_learned_for_it(tmp_path):
    emotion, news = task("emotion"), task("news")
    model = headed(tmp_path, emotion, 0.0)
    text = effects.bare(emotion, "losses", "weighted_loss")
    table = model.table(text, "dev")
    judge = partial(effects.of_losses, tasks={text.name: emotion})
    alike = judge(model, table)
    said = torch.from_numpy(outputs(model, table, model.heads["emotion"]))
    expected = torch.nn.functional.cross_entropy(said, torch.from_numpy(table.columns["labels"]))
    assert_close(alike, {"loss": expected.item(), "weighted_loss": expected.item()}, rtol=1e-5, atol=0)
    learned = tasks_together.with_variances([emotion, news], {}, start=lambda tasks, done: model)
    with torch.no_grad():
        learned.heads["variances"].hundredths.copy_(torch.tensor([0.02, -0.01]))  # variances e^2 and e^-1
    found = judge(learned, table)
    assert_close(found["weighted_loss"], np.exp(-2) * found["loss"], rtol=1e-5, atol=0)
    assert found["loss"] == alike["loss"]
