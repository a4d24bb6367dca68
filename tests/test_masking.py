"""Masks are BERT's, depend on nothing but seed, step, row and place, and a masked language model learns from them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from test_train import run
from transformers import BertConfig, BertForMaskedLM

from rocl import disk, predict, report, train
from rocl.data import batches, tokens
from rocl.data.corpus import Corpus, Row
from rocl.data.masking import Pieces, mask, pieces
from rocl.data.task import Task
from rocl.errors import UserError
from rocl.experiment import Experiment, Scale, graph
from rocl.losses import masked_language
from rocl.models import checkpoints
from rocl.models.heads import MaskedLanguage, Model
from rocl.step import State, backward

V = 1000
MADE_UP = Pieces(4, torch.arange(V) < 5, torch.arange(V) % 3 == 0)


def batch_of(lengths: list[int], ids: list[str] | None = None, first: int = 0) -> batches.Batch:
    """Rows of one text each, of made-up tokens between the ids 2 and 3."""
    texts = [[2, *((first + np.arange(n - 2)) * 7919 % (V - 5) + 5), 3] for n in lengths]
    return batches.Batch(
        task="t",
        kind="text",
        ids=torch.tensor(np.concatenate(texts)),
        starts=torch.tensor(batches.offsets(np.array(lengths))),
        rows=torch.arange(len(lengths) + 1),
        lengths=lengths,
        columns={},
        row_ids=ids or [f"row-{n}" for n in range(len(lengths))],
    )


def test_numbers_are_even_and_differ_by_seed_step_row_place_and_order_of_drawing():
    batch = batch_of([5000, 5000])
    one = batches.uniforms(batch, 1, 7, 0)
    assert 0 <= one.min() and one.max() < 1
    counts = np.histogram(one.numpy(), 20, (0, 1))[0] / len(one)
    assert np.abs(counts - 0.05).max() < 0.01
    others = [batches.uniforms(batch, *key) for key in ((2, 7, 0), (1, 8, 0), (1, 7, 1))] + [
        one.roll(5000),
        one.roll(1),
    ]
    for other in others:
        assert abs(np.corrcoef(one.numpy(), other.numpy())[0, 1]) < 0.05 and (one == other).float().mean() < 0.01


def test_numbers_of_a_row_do_not_depend_on_the_rows_beside_it():
    whole = batch_of([9, 4, 30], ["a", "b", "c"])
    alone = batch_of([30], ["c"])
    torch.testing.assert_close(batches.uniforms(whole, 1, 2, 3)[13:], batches.uniforms(alone, 1, 2, 3), rtol=0, atol=0)


@pytest.mark.parametrize("whole_words", [False, True])
def test_masks_have_berts_shares(whole_words):
    batch = batch_of([20_000] * 3)
    masked = mask(batch, partial(batches.uniforms, batch, 1, 1), MADE_UP, whole_words=whole_words)
    answers = masked.tokens["answers"]
    asked = answers >= 0
    assert abs(asked.float().mean() - 0.15) < 0.005
    assert (batch.ids[asked] == answers[asked]).all() and (masked.ids[~asked] == batch.ids[~asked]).all()
    assert not (asked & (batch.ids < 5)).any()
    seen = masked.ids[asked]
    assert abs((seen == 4).float().mean() - 0.8) < 0.02
    assert abs((seen == answers[asked]).float().mean() - 0.1) < 0.02
    others = seen[(seen != 4) & (seen != answers[asked])]
    assert others.min() >= 5 and len(others.unique()) > 500
    heads = torch.where(~MADE_UP.inside[batch.ids] | (batch.ids < 5), torch.arange(len(asked)), -1).cummax(0).values
    assert bool((asked == asked[heads])[batch.ids >= 5].all()) == whole_words


def test_a_vocabulary_says_which_pieces_go_on_with_a_word(tmp_path):
    folder = Path(tiny.checkpoint(tmp_path / "encoder").name)
    with (folder / "vocab.txt").open("a") as file:
        file.write("##xy\n")
    found = pieces(folder)
    assert found.mask == 4 and found.special.tolist() == [True] * 5 + [False] * 31
    assert found.inside.nonzero().flatten().tolist() == [35]
    (folder / "vocab.txt").write_text((folder / "vocab.txt").read_text().replace("[MASK]", "masque"))
    pieces.cache_clear()
    with pytest.raises(UserError, match="has no mask token"):
        pieces(folder)


def test_the_head_is_that_of_transformers():
    torch.manual_seed(0)
    config = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20)
    theirs = BertForMaskedLM(config).eval()
    for parameter in theirs.cls.parameters():
        torch.nn.init.normal_(parameter)
    from rocl.models.encoder import Encoder
    from rocl.models.families import FAMILIES

    values = {name: getattr(config, key, default) for name, (key, default) in FAMILIES["bert"].keys.items() if key}
    values |= {"embedding": 16, "output_dropout": 0.0, "classifier_dropout": 0.0}
    ours = MaskedLanguage(Encoder(checkpoints.Config(family="bert", stored={}, **values)))
    cls = theirs.cls.predictions
    for mine, his in ((ours.dense, cls.transform.dense), (ours.norm, cls.transform.LayerNorm)):
        mine.load_state_dict(his.state_dict())
    ours.bias.data = cls.bias.data
    vectors = torch.randn(7, 16)
    words = theirs.bert.embeddings.word_embeddings.weight
    torch.testing.assert_close(ours(vectors, words), theirs.cls(vectors), rtol=1e-5, atol=1e-5)


def test_the_loss_is_the_mean_over_the_masked_tokens_of_each_row():
    torch.manual_seed(0)
    logits, answers, owners = torch.randn(6, 9), torch.randint(9, (6,)), torch.tensor([0, 0, 0, 2, 2, 3])
    found = masked_language(logits, answers, owners, 5)
    slow = [
        F.cross_entropy(logits[owners == row], answers[owners == row]) if (owners == row).any() else torch.zeros(())
        for row in range(5)
    ]
    torch.testing.assert_close(found, torch.stack(slow))


# A run on bare text


def texts(name: str = "text", size: int = 600) -> Task:
    """Rows in which every second word follows from the one before it."""

    def read(_: Mapping) -> dict[str, list[Row]]:
        draw, splits = np.random.default_rng(0), {}
        for split, count in (("train", size), ("dev", 24), ("test", 24)):
            rows = [
                [w for n in draw.integers(0, 15, 4) for w in (tiny.WORDS[n], tiny.WORDS[n + 15])] for _ in range(count)
            ]
            splits[split] = [Row(f"{split}-{n}", (" ".join(row),), ()) for n, row in enumerate(rows)]
        return splits

    corpus = Corpus(name=name, language="xx", labels=(), kind="text", licence="none", read=read)
    return Task(name=name, corpus=corpus, max_length=16, metric="masked_accuracy")


def masks(model: Model, batch: batches.Batch, draw: batches.Draw) -> batches.Batch:
    return mask(batch, draw, pieces(model.encoder.source))


def objective(model, encoded, batch, progress):
    asked = batch.tokens["answers"] >= 0
    rows = torch.repeat_interleave(torch.arange(len(batch.rows) - 1), encoded.starts[encoded.rows].diff())
    logits = model.heads["words"](encoded.tokens[asked], model.encoder.embeddings.words.weight)
    return {"masked": masked_language(logits, batch.tokens["answers"][asked], rows[asked], len(batch.rows) - 1)}


@torch.no_grad()
def judge(model: Model, table: batches.Table) -> dict[str, float]:
    model.eval()
    batch = table.batch(np.arange(len(table)))
    batch = masks(model, batch, partial(batches.uniforms, batch, 0, 0))
    asked = batch.tokens["answers"] >= 0
    logits = model.heads["words"](model.encode(batch).tokens[asked], model.encoder.embeddings.words.weight)
    right = logits.argmax(1) == batch.tokens["answers"][asked]
    loss = F.cross_entropy(logits, batch.tokens["answers"][asked])
    return {"masked_accuracy": right.float().mean().item(), "perplexity": loss.exp().item()}


def build(tasks, done, *, checkpoint) -> Model:
    encoder = checkpoint.fresh()
    return Model(encoder, {"words": MaskedLanguage(encoder)})


def language(folder: Path, **changes) -> Experiment:
    values = dict(name="language", steps=600, batch=32, learning_rate=3e-3, evaluations=3)
    model = partial(build, checkpoint=tiny.checkpoint(folder / "encoder", 0.0))
    return Experiment(tasks=[texts()], model=model, alter=masks, objective=objective, judge=judge, **values | changes)


def test_a_masked_language_model_learns_what_follows_from_what(tmp_path):
    folder = run(language(tmp_path), tmp_path / "runs")
    scores = disk.read_json(folder / "done")["scores"]["text"]
    frozen = disk.read_json(run(language(tmp_path, steps=0), tmp_path / "runs") / "done")["scores"]["text"]
    assert frozen["test"]["masked_accuracy"] < 0.1 and frozen["test"]["perplexity"] > 25
    assert scores["test"]["masked_accuracy"] > 0.3 and scores["test"]["perplexity"] < 15
    with pytest.raises(UserError, match="it left an encoder"):
        predict.Classifier(folder)


def test_what_it_leaves_is_an_encoder_to_go_on_from_and_for_other_libraries(tmp_path):
    from sentence_transformers import SentenceTransformer

    (node,) = graph(language(tmp_path, steps=3), Scale.SAMPLE, 1, tmp_path / "runs", Path(__file__))
    train.train(node, {})
    done = predict.Done(node, {})
    encoder = done.encoder()
    model = done.model()
    torch.testing.assert_close(encoder.embeddings.words.weight, model.encoder.embeddings.words.weight)
    assert encoder.pooler is None  # the folder has an identity in its place
    vectors = done.predict(texts(), "dev")
    theirs = SentenceTransformer(str(node.folder / "model"), device="cpu").encode(
        [r.texts[0] for r in texts().rows("dev")]
    )
    np.testing.assert_allclose(vectors, theirs, atol=1e-5)


@pytest.mark.parametrize("budget", [1, 40])
def test_cutting_a_step_changes_no_mask_and_no_gradient(tmp_path, budget):
    def gradients(experiment: Experiment) -> torch.Tensor:
        torch.manual_seed(1)
        model = experiment.model(experiment.tasks, {})
        found = predict.tables(model, experiment.tasks, "train", tmp_path)
        pairs, scaler = np.array([[0, n] for n in range(12)]), torch.amp.GradScaler("cpu", enabled=False)
        backward(experiment, model, found, pairs, 1, 0.5, {}, scaler, State())
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole = language(tmp_path)
    one, many = gradients(whole), gradients(replace(whole, token_budget=budget))
    assert one.abs().max() > 1e-3
    torch.testing.assert_close(many, one, rtol=1e-4, atol=1e-6)


def test_a_metric_that_the_judge_does_not_give_is_named(tmp_path):
    task = replace(texts(), metric="masked_acuracy")
    with pytest.raises(UserError, match=r"no metric 'masked_acuracy' \(did you mean masked_accuracy\?\)"):
        run(replace(language(tmp_path, steps=2), tasks=[task]), tmp_path / "runs")


def test_the_tokenizer_of_the_left_folder_is_that_of_the_encoder(tmp_path):
    folder = run(language(tmp_path, steps=1), tmp_path / "runs")
    assert tokens.tokenizer(folder / "model").backend.encode("bara besi").ids[1:-1] == [5, 1]
    assert json.loads((folder / "model" / "config.json").read_text())["vocab_size"] == 35


def test_a_judge_that_gives_no_number_stops_the_run(tmp_path):
    def nothing(model, table):
        return {"masked_accuracy": float("nan")}

    experiment = replace(language(tmp_path, steps=2), judge=judge)
    node = graph(experiment, Scale.SAMPLE, 1, tmp_path / "runs", Path(__file__))[0]
    node = replace(node, experiment=replace(experiment, judge=nothing))
    with pytest.raises(UserError, match="text: masked_accuracy is nan on dev at step 1"):
        train.fit(node.experiment, *parts(node), tmp_path / "folder", 1)


def parts(node):
    model = node.experiment.model(node.experiment.tasks, {})
    return model, *(predict.tables(model, node.experiment.tasks, split, node.out) for split in ("train", "dev"))


def test_a_dry_run_takes_no_step_where_the_run_takes_none(tmp_path, capsys):
    whole = replace(language(tmp_path, steps=9), needs={"frozen": replace(language(tmp_path, steps=0), name="frozen")})
    node = graph(whole, Scale.SAMPLE, 1, tmp_path / "runs", Path(__file__))[-1]
    train.rehearse(node)
    told = capsys.readouterr().err
    assert "frozen: 0step" in told and "language: 100%" in told and "1/1" in told
    assert not list((tmp_path / "runs").glob("dry-run-*"))


def other(model, table):
    return {"masked_accuracy": 0.5, "perplexity": 7.0, "something": 0.25}


def test_systems_with_judges_of_their_own_share_a_table(tmp_path):
    done = []
    for name, own in (("one", judge), ("two", other)):
        experiment = replace(language(tmp_path, steps=1), name=name, judge=own)
        (node,) = graph(experiment, Scale.SAMPLE, 1, tmp_path / "runs", Path(__file__))
        train.train(node, {})
        done.append(predict.Done(node, {}))
    lines = report.report(done, tmp_path).splitlines()
    head, _, one, two = [line for line in lines if line.startswith("|")][:4]
    assert head.endswith("| masked_accuracy | perplexity | something | note |")
    assert one.endswith("|  |  |") and two.endswith("| 50.0 | 7.0 | 25.0 |  |")
    assert "TF-IDF" not in "".join(lines)
