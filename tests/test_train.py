"""Proves that a step's gradients do not depend on how it is cut, and that a stopped run ends with the same bits."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from rocl import disk, predict, runs, train
from rocl.data import batches
from rocl.errors import UserError
from rocl.experiment import Experiment, Scale, graph
from rocl.losses import classify
from rocl.models.heads import Encoded, Model, classification_head, first, first_tokens, linear, mean
from rocl.optimizer import LazyRows
from rocl.step import State, backward, set_random_state


def build(tasks, done, *, checkpoint):
    encoder = checkpoint.fresh()
    return Model(encoder, {task.name: classification_head(encoder, len(task.labels)) for task in tasks})


def by_row(model, encoded, batch, progress):
    logits = model.heads[batch.task](encoded)  # (R, C)
    return {"cross_entropy": classify(logits, batch.columns["labels"], kind=batch.kind), "progress": progress}


def by_group(model, encoded, batch, progress):
    """Pairs of rows whose vectors should not point the same way: no sum over rows."""
    vectors = torch.nn.functional.normalize(mean(encoded), dim=-1)  # (R, D)
    logits = model.heads[batch.task](encoded)
    return {"pairs": (vectors @ vectors.T).mean(), "gold": classify(logits, batch.columns["labels"], kind=batch.kind)}


def all_tokens(encoded):
    return encoded


def by_first(model, encoded, batch, progress):
    vectors = torch.nn.functional.normalize(first(encoded), dim=-1)  # (R, D)
    logits = model.heads[batch.task](encoded)
    return {"pairs": (vectors @ vectors.T).mean(), "gold": classify(logits, batch.columns["labels"], kind=batch.kind)}


def made(tmp_path, dropout=0.1, **values) -> Experiment:
    checkpoint = tiny.checkpoint(tmp_path / "encoder", dropout)
    tasks = [tiny.task("one"), tiny.task("many", kind="many", size=40)]
    values = dict(steps=12, batch=16, learning_rate=1e-3, evaluations=3, objective=by_row) | values
    return Experiment(name="tiny", tasks=tasks, model=partial(build, checkpoint=checkpoint), **values)


def gradients(experiment: Experiment, seed: int = 1) -> torch.Tensor:
    """The gradient of the first step, flat."""
    torch.manual_seed(seed)
    model = experiment.model(experiment.tasks, {})
    tables = predict.tables(model, experiment.tasks, "train", Path(model.encoder.source))
    pairs = next(batches.steps([60, 40], seed=1, batch=16, steps=1, sampling=experiment.sampling))
    torch.manual_seed(seed)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    backward(experiment, model, tables, pairs, 1, 0.5, {}, scaler, State())
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def shortened(model, batch, draw, *, tell: bool):
    """Texts without their last token; their new lengths may be told or left as they were."""
    kept = torch.ones(len(batch.ids), dtype=torch.bool).index_fill_(0, batch.starts[1:] - 1, False)
    starts = batch.starts - torch.arange(len(batch.starts))
    lengths = starts.diff().tolist() if tell else batch.lengths
    return replace(batch, ids=batch.ids[kept], starts=starts, lengths=lengths)


def test_what_alter_leaves_of_a_text_is_what_is_encoded(tmp_path):
    plain = made(tmp_path, dropout=0.0)
    told, untold = (gradients(replace(plain, alter=partial(shortened, tell=tell))) for tell in (True, False))
    assert torch.equal(told, untold) and not torch.equal(told, gradients(plain))


@pytest.mark.parametrize("budget", [1, 30, 60])
@pytest.mark.parametrize("objective", [by_row, by_group])
def test_cutting_a_step_into_micro_batches_changes_no_gradient(tmp_path, objective, budget):
    together = all_tokens if objective is by_group else None
    whole = made(tmp_path, dropout=0.0, objective=objective, together=together, token_budget=10_000)
    one, many = gradients(whole), gradients(replace(whole, token_budget=budget))
    assert one.abs().max() > 1e-3
    torch.testing.assert_close(many, one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("budget", [1, 30, 10_000])
def test_first_tokens_alone_are_enough_for_an_objective_that_asks_for_no_others(tmp_path, budget):
    plain = made(tmp_path, dropout=0.0, objective=by_first, together=all_tokens, token_budget=10_000)
    expected = gradients(plain)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(
        gradients(replace(plain, together=first_tokens, token_budget=budget)), expected, rtol=1e-4, atol=1e-6
    )


def test_the_second_pass_over_a_group_drops_what_the_first_dropped(tmp_path, monkeypatch):
    """With dropout, the gradient through two passes is that of one pass over the same parts with the graph kept."""
    experiment = made(tmp_path, dropout=0.5, objective=by_group, together=all_tokens, token_budget=60)

    def in_one_pass(model, whole, parts, keep, judge, alike):
        tokens = torch.cat([model.encode(part).tokens for part in parts])
        judge([(whole, Encoded(tokens, whole.starts, whole.rows, None))])

    two_passes = gradients(experiment)
    monkeypatch.setattr("rocl.step.encode_together", in_one_pass)
    one_pass = gradients(experiment)
    torch.testing.assert_close(two_passes, one_pass, rtol=1e-4, atol=1e-6)


def test_one_row_and_a_mean_over_rows_weigh_the_same_whatever_the_task(tmp_path):
    """The step's gradient is that of the mean of all its rows' losses, computed here row by row."""
    experiment = made(tmp_path, dropout=0.0)
    torch.manual_seed(1)
    model = experiment.model(experiment.tasks, {})
    tables = predict.tables(model, experiment.tasks, "train", Path(model.encoder.source))
    pairs = next(batches.steps([60, 40], seed=1, batch=16, steps=1, sampling=experiment.sampling))
    for task, row in pairs:
        batch = tables[task].batch(np.array([row]))
        (by_row(model, model.encode(batch), batch, 0.5)["cross_entropy"].sum() / 16).backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(gradients(experiment), expected, rtol=1e-4, atol=1e-6)


def run(experiment: Experiment, out: Path, seed: int = 1) -> Path:
    (node,) = graph(experiment, Scale.SAMPLE, seed, out, Path(__file__))
    train.train(node, {})
    return node.folder


def outcome(folder: Path) -> dict[str, str]:
    """Everything a run leaves that must not depend on when it was stopped, by file."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    metrics = [{key: value for key, value in json.loads(line).items() if key != "clock"} for line in lines]
    files = ["weights.safetensors", "done", *(f"predictions/{p.name}" for p in (folder / "predictions").iterdir())]
    return {"metrics": json.dumps(metrics)} | {name: disk.digest(folder / name) for name in files}


@pytest.fixture
def whole(tmp_path):
    """An experiment and what it ends with when nothing stops it."""
    experiment = made(tmp_path)
    return experiment, outcome(run(experiment, tmp_path / "whole"))


class Stop(Exception):
    pass


@pytest.mark.parametrize(("step", "words"), [(1, None), (4, None), (7, None), (11, None), (7, LazyRows)])
def test_a_run_killed_at_any_step_ends_with_the_same_bits(tmp_path, whole, monkeypatch, step, words):
    experiment, expected = whole
    if words:
        experiment = replace(experiment, words=words)
        other = outcome(run(experiment, tmp_path / "whole"))
        assert other["weights.safetensors"] != expected["weights.safetensors"]
        expected = other
    patience = train.PATIENCE

    def dies(*arguments):
        if arguments[-1].step == step:
            raise Stop
        return backward(*arguments)

    monkeypatch.setattr(train, "backward", dies)
    monkeypatch.setattr(train, "PATIENCE", -1)  # a checkpoint at every step
    monkeypatch.setattr(train, "WORTH", 0)
    with pytest.raises(Stop):
        run(experiment, tmp_path / "again")
    monkeypatch.setattr(train, "backward", backward)
    monkeypatch.setattr(train, "PATIENCE", patience)
    assert outcome(run(experiment, tmp_path / "again")) == expected


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "state", "best"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(tmp_path, whole, monkeypatch, capfd, damage):
    experiment, expected = whole

    def dies(*arguments):
        if arguments[-1].step == 9:
            raise Stop
        return backward(*arguments)

    monkeypatch.setattr(train, "backward", dies)
    monkeypatch.setattr(train, "PATIENCE", -1)
    monkeypatch.setattr(train, "WORTH", 0)
    with pytest.raises(Stop):
        run(experiment, tmp_path / "again")
    monkeypatch.setattr(train, "backward", backward)
    checkpoints = sorted((tmp_path / "again").rglob("checkpoints/*.json"))
    assert len(checkpoints) == 2
    last = checkpoints[-1].with_suffix(".safetensors")
    content = last.read_bytes()
    match damage:
        case "truncate":
            last.write_bytes(content[: len(content) // 2])
        case "flip":
            last.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        case "remove":
            last.unlink()
        case "state":
            checkpoints[-1].write_text(checkpoints[-1].read_text()[:40])
        case "best":
            (last.parent / json.loads(checkpoints[-1].read_text())["best"]).write_bytes(b"")
    assert outcome(run(experiment, tmp_path / "again")) == expected
    assert "damaged" in capfd.readouterr().err


def test_another_seed_gives_other_weights_and_the_same_seed_the_same(tmp_path, whole):
    experiment, expected = whole
    other = outcome(run(experiment, tmp_path / "other", seed=2))
    again = outcome(run(experiment, tmp_path / "again"))
    assert again == expected and other["weights.safetensors"] != expected["weights.safetensors"]


def test_a_second_process_is_refused_with_the_holders_id(tmp_path):
    code = "import sys, pathlib; from rocl import runs\n"
    code += "with runs.held(pathlib.Path(sys.argv[1])): print('held', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(UserError, match=str(holder.pid)):
        with runs.held(tmp_path):
            pass
    holder.communicate(b"\n")
    with runs.held(tmp_path):
        pass


def test_a_loss_that_is_no_number_names_step_task_and_rows_and_leaves_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "PATIENCE", -1)
    monkeypatch.setattr(train, "WORTH", 0)

    def broken(model, encoded, batch, progress):
        terms = by_row(model, encoded, batch, progress)
        return {"cross_entropy": terms["cross_entropy"] * (math.nan if progress > 0.5 and batch.task == "many" else 1)}

    experiment = made(tmp_path, steps=12)
    torch.manual_seed(1)
    model = experiment.model(experiment.tasks, {})
    tables = [predict.tables(model, experiment.tasks, split, tmp_path) for split in ("train", "dev")]
    with pytest.raises(UserError, match=r"many/cross_entropy is nan at step 7, rows train-\d+"):
        train.fit(replace(experiment, objective=broken), model, *tables, tmp_path / "run", 1)
    _, state = runs.latest(tmp_path / "run" / "checkpoints")
    assert 0 < state["state"]["step"] <= 7
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_a_gradient_that_is_no_number_stops_the_run_before_it_reaches_the_weights(tmp_path):
    def broken(model, encoded, batch, progress):
        terms = by_row(model, encoded, batch, progress)
        root = (encoded.tokens.sum() * 0).sqrt()  # 0, with an infinite slope
        return {"cross_entropy": terms["cross_entropy"] + (root if progress > 0.5 else 0)}

    experiment = made(tmp_path, steps=12)
    torch.manual_seed(1)
    model = experiment.model(experiment.tasks, {})
    tables = [predict.tables(model, experiment.tasks, split, tmp_path) for split in ("train", "dev")]
    with pytest.raises(UserError, match="the gradient's norm is nan at step 7"):
        train.fit(replace(experiment, objective=broken), model, *tables, tmp_path / "run", 1)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("head", "complaint"), [(None, "no head called one"), (linear, "no place for a Pooled: export a classific")]
)
def test_a_model_that_could_not_be_left_behind_is_refused_before_step_one(tmp_path, monkeypatch, head, complaint):
    def wrong(tasks, done):
        encoder = tiny.checkpoint(tmp_path / "encoder").fresh()
        return Model(encoder, {"one": head(encoder, 3)} if head else {})

    monkeypatch.setattr(train, "fit", None)
    wrong.__qualname__ = "wrong"
    with pytest.raises(UserError, match=complaint):
        run(replace(made(tmp_path), tasks=[tiny.task("one")], model=wrong), tmp_path / "runs")


def test_a_run_goes_on_on_a_device_with_other_generators_and_another_precision(tmp_path):
    """From a GPU to a CPU, whose checkpoint has one state too many, and from full to half precision."""
    if torch.cuda.is_available():
        pytest.skip("a GPU is here: the state of its generator would be read")
    state = torch.get_rng_state()
    set_random_state({"random/cpu": state, "random/cuda": torch.zeros(16, dtype=torch.uint8)})
    assert torch.equal(torch.get_rng_state(), state)
    model = torch.nn.Linear(2, 2)
    adamw, scaler = torch.optim.AdamW(model.parameters()), torch.amp.GradScaler("cpu", enabled=True)
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()} | {"random/cpu": state}
    train.restore(tensors, {"scaler": {}, "state": {"step": 3}}, model, {"adamw": adamw}, scaler)
    assert scaler.get_scale() > 1


@pytest.mark.parametrize("change", ["labels", "state"])
def test_a_checkpoint_that_other_code_made_is_refused_in_one_line(tmp_path, monkeypatch, change):
    experiment, labels = made(tmp_path, steps=2), 4 if change == "labels" else 3
    tables = [
        predict.tables(experiment.model(experiment.tasks, {}), experiment.tasks, split, tmp_path)
        for split in ("train", "dev")
    ]
    train.fit(experiment, experiment.model(experiment.tasks, {}), *tables, tmp_path / "run", 1)
    if change == "state":
        monkeypatch.setattr(train, "State", lambda step=0: None)
    encoder = tiny.checkpoint(tmp_path / "encoder").fresh()
    model = Model(encoder, {name: classification_head(encoder, labels) for name in ("one", "many")})
    with pytest.raises(UserError, match="run cannot go on: the code that made its checkpoint is not this one [^\n]*$"):
        train.fit(experiment, model, *tables, tmp_path / "run", 1)


def test_the_tiny_tasks_are_learned(tmp_path):
    folder = run(made(tmp_path, steps=400, learning_rate=3e-3), tmp_path / "runs")
    scores = disk.read_json(folder / "done")["scores"]
    assert scores["one"]["test"]["accuracy"] > 0.9 and scores["many"]["test"]["macro_f1"] > 0.75


def test_a_scalar_that_is_only_told_is_logged_and_not_minimised(tmp_path):
    folder = run(made(tmp_path), tmp_path / "runs")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    told = [line["train/one/progress"] for line in lines if "train/one/progress" in line]
    assert told == sorted(told) and told[-1] > 0.5
