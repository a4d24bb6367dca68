"""Proves that a step asks for no number and mixes no devices, on torch's device without memory, which has none to give
(an operator that looks at its own input is noticed on a GPU alone); and that numbers read late are the same ones."""

import json
import math
import signal
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import pytest
import torch
from test_ranks import METHODS
from test_train import by_row, made, run

from rocl import disk, interrupts, optimizer, predict, step, train
from rocl.data import batches
from rocl.errors import UserError
from rocl.models import attention
from rocl.step import State, backward, settle

NOWHERE = torch.device("meta")


@pytest.fixture
def elsewhere(monkeypatch):
    """What torch or its AdamW lacks for this device, which is no place for training otherwise."""
    monkeypatch.setitem(attention.TOKENS, "meta", 65536)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    monkeypatch.setattr(optimizer, "adamw", lambda groups, **_: torch.optim.RMSprop(groups))


def moved(model, device):
    """As `Module.to`, which heads that keep another model in a list do not notice."""
    parts = [head.leader[0] for head in model.heads.values() if hasattr(head, "leader")]
    return [part.to(device) for part in (model, *parts)][0]


def take_steps(experiment, folder, device=NOWHERE, precision=torch.float32) -> State:
    """Three steps of the experiment, of made-up rows, there; what they told, unread."""
    tasks = list(experiment.tasks)
    model = moved(experiment.model(tasks, {}), device)
    model.precision = precision
    tables = predict.tables(model, tasks, "train", folder)
    scaler, state = torch.amp.GradScaler("cuda", enabled=precision == torch.float16), State()
    inner = {}
    if experiment.inner:
        heads = [parameter for name in experiment.inner.heads for parameter in model.heads[name].parameters()]
        inner = {"inner": torch.optim.RMSprop(heads)}
        for parameter in heads:
            parameter.requires_grad_(False)
    stepping = optimizer.optimizers(model, optimizer.groups(model, 1e-3), experiment.words)
    order = batches.steps([len(t) for t in tables], seed=1, batch=12, steps=3, sampling=experiment.sampling)
    for pairs in order:
        backward(experiment, model, tables, pairs, 1, 0.5, inner | stepping, scaler, state)
        past = state.unread[-1]
        past.norm = optimizer.take(model, stepping, scaler, experiment.clip, past.loss)
        model.advance()
        state.step += 1
        if device != NOWHERE:  # from the second step on
            torch.cuda.set_sync_debug_mode("error")
    return state


@pytest.mark.parametrize("words", [None, optimizer.LazyRows])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_of_every_method_waits_for_nothing(method, words, tmp_path, elsewhere):
    state = take_steps(replace(METHODS[method](tmp_path), words=words), tmp_path)
    assert len(state.unread) == 3 and all(past.terms and past.norm.device == NOWHERE for past in state.unread)


def test_attention_by_the_flash_kernel_waits_for_nothing(tmp_path, elsewhere, monkeypatch):
    monkeypatch.setattr(attention, "choose", lambda *_: attention.varlen)
    assert len(take_steps(made(tmp_path, 0.0), tmp_path).unread) == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_on_a_gpu_waits_for_nothing(method, precision, tmp_path):
    try:
        state = take_steps(METHODS[method](tmp_path), tmp_path, torch.device("cuda"), precision)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    settle(state, torch.amp.GradScaler("cuda", enabled=precision == torch.float16))
    assert all(math.isfinite(total) for total in state.sums.values()) and state.sums


def test_a_step_that_asks_for_a_number_would_be_noticed(tmp_path, elsewhere):
    experiment = made(tmp_path, 0.0)

    def asks(model, encoded, batch, progress):
        return {"size": encoded.tokens.mean().item()} | experiment.objective(model, encoded, batch, progress)

    with pytest.raises(RuntimeError, match="item"):
        take_steps(replace(experiment, objective=asks), tmp_path)


def lines(out) -> list[dict]:
    (file,) = out.rglob("metrics.jsonl")
    return [
        {key: value for key, value in json.loads(line).items() if key != "clock" and not key.startswith("speed")}
        for line in file.read_text().splitlines()
    ]


def test_what_is_read_late_is_what_would_have_been_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "LOOKS", 4)
    told = []
    for late in (False, True):
        monkeypatch.setattr(train, "reads_late", lambda _, late=late: late)
        out = tmp_path / str(late)
        run(made(tmp_path, 0.1, steps=18), out)
        (done,) = out.rglob("done")
        told.append((lines(out), disk.read_json(done)["scores"]))
    assert told[0] == told[1] and len(told[0][0]) > 4


def test_a_signal_while_numbers_are_read_loses_none(tmp_path, monkeypatch):
    """Of two runs, one stopped there and gone on, the logs are the same."""
    monkeypatch.setattr(train, "LOOKS", 2)
    monkeypatch.setattr(train, "reads_late", lambda _: True)
    read, calls, told = step.read, [], []

    def struck(values):
        calls.append(len(values))
        if len(calls) == strike:
            signal.raise_signal(signal.SIGTERM)
        return read(values)

    monkeypatch.setattr(step, "read", struck)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    interrupts.install()
    try:
        for strike in (0, 1, 2, 3):
            calls.clear()
            out = tmp_path / str(strike)
            experiment = made(tmp_path, 0.1, steps=12, evaluations=3)
            if strike:
                with pytest.raises(interrupts.Interrupted):
                    run(experiment, out)
            run(experiment, out)
            told.append(lines(out))
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    assert all(each == told[0] for each in told[1:])


def spoilt(model, encoded, batch, progress, *, slope):
    """Of step 3 of 20, with a gradient that is no number or with one that is."""
    bad = torch.tensor(torch.nan if abs(progress - 3 / 20) < 1e-9 else 0.0)
    return by_row(model, encoded, batch, progress) | {"bad": bad * (encoded.tokens.sum() if slope else 1)}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("slope", [True, False])
def test_a_loss_that_is_no_number_is_told_with_its_step_and_changes_no_weight(late, slope, tmp_path, monkeypatch):
    """Also if its gradient is a number, and if the run has gone on since."""
    monkeypatch.setattr(train, "LOOKS", 2)
    monkeypatch.setattr(train, "PATIENCE", 1000.0)
    monkeypatch.setattr(train, "reads_late", lambda _: late)
    take, taken = optimizer.take, []

    def spy(model, *arguments):
        before = [weight.detach().clone() for weight in model.parameters()]
        norm = take(model, *arguments)
        taken.append(any(not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True)))
        return norm

    monkeypatch.setattr(optimizer, "take", spy)
    with pytest.raises(UserError, match="bad is nan at step 3, rows .*the step was not taken"):
        run(made(tmp_path, 0.0, steps=20, evaluations=1, objective=partial(spoilt, slope=slope)), tmp_path / "out")
    assert taken[1:] == [True, True, False] + [True] * (6 if late else 0), "at the first step the rate is 0"
