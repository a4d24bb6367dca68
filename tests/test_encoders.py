"""Proves that encoders are compared in one table, and that a scale whose encoder must first be grown grows it once."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch

from experiments import bilingual, compare, encoders, mtkd_variants, multistage, scales, yours
from experiments.scales import TINY
from rocl import report, train
from rocl.data import batches, tokens
from rocl.data.task import Task
from rocl.experiment import Experiment, Scale, graph
from rocl.models.heads import Model, first, outputs

SHORT = {"epochs": None, "steps": 2, "evaluations": 1}


def short(experiment: Experiment) -> Experiment:
    """The experiment and its needs with two steps where they take any."""
    needs = {name: short(need) for name, need in experiment.needs.items()}
    return replace(experiment, needs=needs, **(SHORT if experiment.objective and experiment.steps != 0 else {}))


def test_as_it_is_and_fine_tuned_an_encoder_stands_beside_the_baselines(tmp_path):
    start = (partial(encoders.stored, checkpoint=TINY), {})
    whole = short(Experiment(name="all", needs=encoders.compared(Scale.SAMPLE, {"rocl-tiny": start})))
    done = train.walk(graph(whole, Scale.SAMPLE, 2, tmp_path, Path(__file__)))
    text = report.report([run for run in done if run.node.experiment.objective], tmp_path)
    found, heading = {}, ""
    for line in text.splitlines():
        heading = line[3:] if line.startswith("## ") else heading
        if line.startswith("| sample"):
            found.setdefault(heading, []).append([cell.strip() for cell in line.split("|")[4:6]])
    names = ["majority", report.TFIDF, "rocl-tiny-as-it-is", "emotion-from-rocl-tiny"]
    assert [row[1] for row in found["emotion"][:4]] == names
    assert [row[0] for row in found["emotion"][2:4]] == ["1", "2"]  # as it is nothing is drawn: one seed for all
    assert "retrieval/forth" in text and "tokens a word" in text and list(found)[-1] == "written_pairs"
    as_it_is = next(run for run in done if run.node.experiment.name == "rocl-tiny-as-it-is")
    scores = as_it_is.scores["emotion"]["test"]
    assert scores["macro_f1/low"] <= scores["macro_f1"] <= scores["macro_f1/high"]
    assert 1 <= scores["tokens_per_word"] < 3
    assert as_it_is.scores["written_pairs"]["test"].keys() >= {"retrieval", "retrieval/forth", "retrieval/back"}


def probed(task: Task) -> float:
    model = encoders.Frozen(TINY.encoder())
    return encoders.judge(model, model.table(task, "dev"), kinds={task.name: "one"})["accuracy"]


def test_a_probe_learns_from_the_labels_of_the_training_rows():
    def moved(files):
        rows = corpus.splits["train"]
        return {**corpus.splits, "train": [replace(r, labels=rows[n - 7].labels) for n, r in enumerate(rows)]}

    task = encoders.judged(Scale.SAMPLE)[2]
    corpus = task.corpus
    assert probed(task) == probed(task) > probed(replace(task, corpus=replace(corpus, read=moved))) + 0.1


def test_a_bert_is_shrunk_to_two_layers_with_few_pieces_and_narrow_embeddings(tmp_path):
    teacher = SimpleNamespace(encoder=tiny.checkpoint(tmp_path / "bert").fresh)
    model = bilingual.shrunk(bilingual.bare(Scale.SAMPLE), {"teacher": teacher}, size=900, width=8)
    config = model.encoder.config
    assert (config.family, config.layers, config.vocabulary, config.embedding) == ("electra", 2, 900, 8)
    assert tokens.tokenizer(model.encoder.source).size == 900


def test_short_vectors_are_made_as_long_as_heads_expect_whatever_their_layer_norm_says(tmp_path):
    task = scales.setting(Scale.SAMPLE).romanian["emotion"]
    encoder = TINY.encoder()
    with torch.no_grad():  # one place carries nearly all, and counts for nothing
        norm = encoder.layers[-1].output_norm
        norm.weight.mul_(0.1)
        norm.bias.mul_(0.1)
        encoder.layers[-1].down.bias[7] += 100
        norm.weight[7], norm.bias[7] = 0.0, 0.0
    tables = [batches.table(task, "train", tokens.tokenizer(encoder.source), None)]
    size = [outputs(Model(e, {}), tables[0], first) for e in (encoder, bilingual.sized(encoder, [task]))]
    assert np.square(size[0]).mean() < 0.01 and 0.9 < np.square(size[1]).mean() ** 0.5 < 1.1


@pytest.fixture
def growing(monkeypatch):
    """The scale `sample`, as if its encoder did not know Romanian."""
    choice = replace(scales.bundled(), grow=True)
    monkeypatch.setattr(scales, "bundled", lambda: choice)
    for made in (scales.setting, bilingual.mini):
        made.cache_clear()
    yield
    for made in (scales.setting, bilingual.mini):
        made.cache_clear()


@pytest.mark.parametrize("file", [compare, mtkd_variants, multistage])
def test_a_scale_that_must_grow_its_encoder_does_so_once_for_all_systems_and_seeds(growing, file, tmp_path):
    graphs = [graph(file.experiment(Scale.SAMPLE), Scale.SAMPLE, seed, tmp_path, Path(__file__)) for seed in (1, 2)]
    grown = {node.folder for nodes in graphs for node in nodes if node.experiment.name == "bilingual"}
    assert [folder.name for folder in grown] == ["seed-1"]

    def reached(node) -> bool:
        return node.experiment.name == "bilingual" or any(map(reached, node.needs.values()))

    for node in graphs[1]:
        if node.experiment.objective and node.experiment.name not in ("old-encoder", "bilingual"):
            assert reached(node), node.experiment.name
            assert node.encoder == f"bilingual of rocl-tiny {TINY.checksum()[:8]}"


def test_a_corpus_of_your_own_starts_from_the_encoder_of_the_scale_as_it_is(growing, tmp_path):
    nodes = graph(yours.experiment(Scale.SAMPLE), Scale.SAMPLE, 1, tmp_path, Path(__file__))
    assert len(nodes) > 3 and not [node for node in nodes if node.experiment.name == "bilingual"]
