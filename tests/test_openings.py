"""Proves the loop's openings: inner updates of a head, combined gradients, heads that keep a memory, tasks that do not
choose the weights; each also goes on to the bit after a kill."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from test_train import Stop, by_row, gradients, made, outcome, run
from torch.testing import assert_close

from rocl import predict, train
from rocl.data import batches
from rocl.data.task import column
from rocl.errors import UserError
from rocl.experiment import Inner
from rocl.losses import clip, momentum_contrast, pcgrad, summed, wasserstein
from rocl.models.heads import Model, Momentum, by_text, classification_head, mlp, texts
from rocl.step import State, backward, settle


def with_critic(tasks, done, *, checkpoint):
    encoder = checkpoint.fresh()
    heads = {task.name: classification_head(encoder, len(task.labels)) for task in tasks}
    return Model(encoder, heads | {"critic": mlp(encoder, 1, hidden=8)})


def distance(model, pieces, progress):
    said = torch.cat([model.heads["critic"](encoded).squeeze(1) for _, encoded in pieces])
    inside = torch.cat([batch.columns["language"] for batch, _ in pieces])
    return -wasserstein(said, inside)


def nearer(model, encoded, batch, progress):
    sign = 2 * batch.columns["language"] - 1
    terms = by_row(model, encoded, batch, progress)
    return terms | {"critic": sign * model.heads["critic"](encoded).squeeze(1)}


def nothing(model, pieces, progress):
    return None


def often(progress):
    return 3


def critic(tmp_path, **values):
    plain = made(tmp_path)
    tasks = [
        column(task, language=np.full(len(task.rows("train")), n, np.float32)) for n, task in enumerate(plain.tasks)
    ]
    model = partial(with_critic, checkpoint=tiny.checkpoint(tmp_path / "encoder"))
    inner = Inner(heads=["critic"], loss=distance, steps=often, learning_rate=1e-2, after=clip)
    return replace(plain, name="critic", tasks=tasks, model=model, objective=nearer, inner=inner, **values)


def state(folder: Path) -> dict[str, torch.Tensor]:
    return predict.load_file(folder / "weights.safetensors")


def test_only_the_inner_updates_change_the_critic_and_leave_it_within_its_bound(tmp_path):
    folder = run(critic(tmp_path), tmp_path / "runs")
    found = {name: t for name, t in state(folder).items() if name.startswith("heads.critic")}
    assert found and max(t.abs().max().item() for t in found.values()) <= 0.01 + 1e-8
    torch.manual_seed(1)
    new = critic(tmp_path).model(critic(tmp_path).tasks, {}).state_dict()
    for change in ({"learning_rate": 0.0}, {"loss": nothing}):
        inner = replace(critic(tmp_path).inner, after=None, **change)
        still = run(replace(critic(tmp_path), inner=inner), tmp_path / "-".join(change))
        for name in found:
            assert torch.equal(state(still)[name], new[name]), "the step has changed the critic"


def test_inner_updates_see_all_rows_of_the_step_wherever_it_is_cut(tmp_path, monkeypatch):
    """The critic after its updates, and the step's gradient, are the same for one part and for many."""
    kept = []

    def spied(experiment, budget):
        torch.manual_seed(1)
        model = experiment.model(experiment.tasks, {})
        model.heads["critic"].requires_grad_(False)
        tables = predict.tables(model, experiment.tasks, "train", Path(model.encoder.source))
        pairs = next(batches.steps([60, 40], seed=1, batch=16, steps=1, sampling=experiment.sampling))
        adam = torch.optim.Adam(model.heads["critic"].parameters(), 1e-2)
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        backward(
            replace(experiment, token_budget=budget),
            model,
            tables,
            pairs,
            1,
            0.5,
            {"inner": adam},
            scaler,
            State(),
        )
        kept.append([p.detach().clone() for p in model.heads["critic"].parameters()])
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    plain = critic(tmp_path)
    experiment = replace(plain, model=partial(with_critic, checkpoint=tiny.checkpoint(tmp_path / "still", 0.0)))
    one, many = spied(experiment, 10_000), spied(experiment, 30)
    assert_close(many, one, rtol=1e-4, atol=1e-6)
    for a, b in zip(*kept, strict=True):
        assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_summed_gradients_are_those_of_a_plain_step_and_pcgrad_changes_them(tmp_path):
    plain = made(tmp_path, dropout=0.0)
    expected = gradients(plain)
    assert_close(gradients(replace(plain, combine=summed)), expected, rtol=1e-4, atol=1e-6)
    assert_close(gradients(replace(plain, combine=summed, token_budget=30)), expected, rtol=1e-4, atol=1e-6)


def turned(model, encoded, batch, progress, *, sign):
    return {name: sign[batch.task] * term for name, term in by_row(model, encoded, batch, progress).items()}


def test_pcgrad_in_the_loop_is_pcgrad_of_the_tasks_own_gradients_in_conflict_and_in_agreement(tmp_path):
    changes = []
    for sign in (1, -1):  # of one task, so that the gradients are in conflict once
        plain = replace(made(tmp_path, dropout=0.0), objective=partial(turned, sign={"one": 1, "many": sign}))
        one, many = apart(plain)
        expected, told = pcgrad({"one": one, "many": many}, np.random.default_rng(0))
        projected = gradients(replace(plain, combine=pcgrad))
        step = gradients(plain)
        encoder = torch.cat([expected, step[len(expected) :]])  # of the heads as it was
        assert_close(projected, encoder, rtol=1e-3, atol=1e-5)
        changes.append(((projected - step).abs().max().item() > 1e-4, told["cosine of one and many"]))
    assert sorted(changed for changed, _ in changes) == [False, True]
    assert all(changed == (cosine < 0) for changed, cosine in changes)


def cosine(experiment) -> float:
    return torch.cosine_similarity(*apart(experiment), dim=0).item()


def apart(experiment) -> list[torch.Tensor]:
    """The encoder's gradients of the two tasks, each computed by itself."""
    each = []
    for number in (0, 1):
        torch.manual_seed(1)
        model = experiment.model(experiment.tasks, {})
        tables = predict.tables(model, experiment.tasks, "train", Path(model.encoder.source))
        pairs = next(batches.steps([60, 40], seed=1, batch=16, steps=1, sampling=experiment.sampling))
        rows = pairs[pairs[:, 0] == number]
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        backward(experiment, model, tables, rows, 1, 0.5, {}, scaler, State())
        share = len(rows) / len(pairs)  # as in a step of both
        each.append(share * torch.cat([p.grad.flatten() for p in model.encoder.parameters() if p.grad is not None]))
    return each


def test_the_cosine_that_is_told_is_that_of_the_tasks_own_gradients(tmp_path):
    experiment = replace(made(tmp_path, dropout=0.0), combine=summed)
    torch.manual_seed(1)
    model = experiment.model(experiment.tasks, {})
    tables = predict.tables(model, experiment.tasks, "train", Path(model.encoder.source))
    pairs = next(batches.steps([60, 40], seed=1, batch=16, steps=1, sampling=experiment.sampling))
    known = State()
    backward(experiment, model, tables, pairs, 1, 0.5, {}, torch.amp.GradScaler("cpu", enabled=False), known)
    known.unread[-1].norm = torch.tensor(1.0)
    settle(known, torch.amp.GradScaler("cpu", enabled=False))
    total, weight = known.told["gradients/cosine of one and many"]
    assert weight == 1
    assert_close(total, cosine(made(tmp_path, dropout=0.0)), rtol=1e-3, atol=1e-4)


def with_memory(tasks, done, *, checkpoint):
    encoder = checkpoint.fresh()
    heads = {task.name: classification_head(encoder, len(task.labels)) for task in tasks}
    projection = mlp(encoder, 6, hidden=8, pool=texts)
    return Model(encoder, heads | {"projection": projection, "memory": Momentum(encoder, projection, 20, 0.9)})


def doubled(model, batch, draw):
    return batches.twice(batch)


def contrast(model, encoded, batch, progress):
    queries = model.heads["projection"](by_text(encoded)).view(len(batch.row_ids), 2, -1)  # (R, 2, D)
    keys = model.heads["memory"](batch).view(len(batch.row_ids), 2, -1)
    queue = model.heads["memory"].queue
    return {"contrast": sum(momentum_contrast(queries[:, n], keys[:, 1 - n], queue) for n in (0, 1)) / 2}


def memory(tmp_path, dropout=0.1):
    model = partial(with_memory, checkpoint=tiny.checkpoint(tmp_path / "encoder", dropout))
    return replace(made(tmp_path, dropout), name="memory", model=model, objective=contrast, alter=doubled)


@pytest.mark.parametrize("make", [critic, memory])
@pytest.mark.parametrize("step", [3, 8])
def test_a_run_with_state_of_its_own_ends_with_the_same_bits_after_a_kill(tmp_path, monkeypatch, make, step):
    expected = outcome(run(make(tmp_path), tmp_path / "whole"))

    def dies(*arguments):
        if arguments[-1].step == step:
            raise Stop
        return backward(*arguments)

    monkeypatch.setattr(train, "backward", dies)
    monkeypatch.setattr(train, "PATIENCE", -1)
    monkeypatch.setattr(train, "WORTH", 0)
    with pytest.raises(Stop):
        run(make(tmp_path), tmp_path / "again")
    monkeypatch.undo()
    assert outcome(run(make(tmp_path), tmp_path / "again")) == expected


def test_the_follower_follows_and_the_queue_holds_the_newest_keys(tmp_path):
    torch.manual_seed(0)
    model = with_memory([], {}, checkpoint=tiny.checkpoint(tmp_path / "encoder", 0.0))
    head, table = model.heads["memory"], predict.tables(model, [tiny.task("one")], "train", tmp_path)[0]
    old = [p.clone() for p in head.follower.parameters()]
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(1.0)
    keys = torch.cat([head(table.batch(np.arange(n, n + 13))) for n in (0, 13)])  # (26, 6), more than it holds
    model.advance()
    for own, was, leading in zip(head.follower.parameters(), old, head.leader[0].parameters(), strict=True):
        assert_close(own, 0.9 * was + 0.1 * leading)
    assert sorted(map(tuple, head.queue.tolist())) == sorted(map(tuple, keys[-20:].tolist()))
    place = head.place.item()
    newest = head(table.batch(np.arange(5)))
    model.advance()
    assert_close(head.queue[[(place + n) % 20 for n in range(5)]], newest)
    assert not [name for name, p in head.named_parameters() if p.requires_grad]


def test_twice_repeats_every_text_in_its_row(tmp_path):
    model = with_memory([], {}, checkpoint=tiny.checkpoint(tmp_path / "encoder", 0.0))
    batch = predict.tables(model, [tiny.task("one")], "train", tmp_path)[0].batch(np.array([4, 1, 9]))
    two = batches.twice(replace(batch, tokens={"place": torch.arange(len(batch.ids))}))
    whole = [batch.ids[a:b].tolist() for a, b in zip(batch.starts, batch.starts[1:], strict=False)]
    assert [two.ids[a:b].tolist() for a, b in zip(two.starts, two.starts[1:], strict=False)] == [
        text for text in whole for _ in (0, 1)
    ]
    assert two.rows.tolist() == [0, 2, 4, 6] and batch.ids[two.tokens["place"]].tolist() == two.ids.tolist()


def test_a_task_without_a_metric_is_learned_and_told_but_does_not_choose(tmp_path):
    plain = made(tmp_path)
    aside = replace(plain, tasks=[plain.tasks[0], replace(plain.tasks[1], metric=None)])
    lines = [json.loads(line) for line in (run(aside, tmp_path / "runs") / "metrics.jsonl").read_text().splitlines()]
    looks = [line for line in lines if "dev/score" in line]
    assert looks and all(line["dev/score"] == line["dev/one/macro_f1"] for line in looks)
    assert all("dev/many/macro_f1" in line for line in looks)


def undecided(done, *, tasks):
    return [replace(task, corpus=replace(task.corpus, read=partial(without_dev, task))) for task in tasks]


def without_dev(task, files):
    return {"train": task.rows("train"), "test": task.rows("test")}


def test_tasks_made_on_the_way_without_dev_rows_are_refused_when_the_weights_are_to_be_chosen(tmp_path):
    plain = made(tmp_path)
    with pytest.raises(UserError, match="no task with a metric has dev rows"):
        run(replace(plain, tasks=partial(undecided, tasks=plain.tasks)), tmp_path / "runs")


def test_inner_updates_of_a_head_that_is_not_there_are_refused_by_name(tmp_path):
    plain = critic(tmp_path)
    with pytest.raises(UserError, match="no head called critics"):
        run(replace(plain, inner=replace(plain.inner, heads=["critics"])), tmp_path / "runs")


def test_nothing_to_choose_by_is_refused(tmp_path, capsys):
    plain = made(tmp_path)
    nothing = replace(plain, tasks=[replace(task, metric=None) for task in plain.tasks])
    from rocl.check import check
    from rocl.experiment import Scale, graph

    with pytest.raises(UserError, match="no task has a metric"):
        check(graph(nothing, Scale.SAMPLE, 1, tmp_path / "runs", Path(__file__)))
