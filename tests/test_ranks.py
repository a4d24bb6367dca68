"""Proves that several ranks train what one process trains, stop together, and go on from each other's checkpoints."""

import json
import math
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import test_openings
import tiny
import torch
import torch.distributed as dist
from forks import forked
from test_kill import outcome as graph_outcome
from test_train import all_tokens, by_group, by_row, made, outcome, run

from rocl import command, disk, optimizer, ranks, train
from rocl.data import batches
from rocl.experiment import Experiment, Scale, graph
from rocl.losses import classify, momentum_contrast, pcgrad, supervised_contrastive
from rocl.models.heads import by_text, first, first_tokens

STEPS = 51  # the last one shows the weights after 50
ROOT = Path(__file__).parent.parent
LONGEST = 300  # seconds; a rank that hangs is ended, so that its test fails


def in_ranks(world: int, action, enter=ranks.joined) -> list[int]:
    """The exit codes of forked processes that make a group and each do this, as torchrun would start them.

    They wait until all are forked: while one of them connects, the store's thread in here holds a lock of the
    resolver, which whoever is forked then would find locked for ever.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    store.set("answered", "")  # its own connection is made
    all_forked, go = os.pipe()

    def ranked(rank: int) -> int:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port, "TORCHELASTIC_USE_AGENT_STORE": True}
        os.environ.update({name: str(value) for name, value in place.items()})
        os.close(go)
        os.read(all_forked, 1)
        return in_group(action, enter)

    pids = [forked(partial(ranked, rank), LONGEST) for rank in range(world)]
    os.close(go)
    os.close(all_forked)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def in_group(action, enter) -> int:
    def main(arguments):
        with enter():
            action()

    try:
        return command.run(main, [])
    except SystemExit as error:
        return error.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1


def contrastive(model, encoded, batch, progress):
    labels = batch.columns["labels"]
    terms = {"gold": classify(model.heads[batch.task](encoded), labels, kind=batch.kind)}
    return terms | {"contrastive": supervised_contrastive(first(encoded), labels, 1.0)}


def contrast(model, encoded, batch, progress):
    """As in test_openings, but warmer: a division by 0.07 is one of rounding too."""
    queries = model.heads["projection"](by_text(encoded)).view(len(batch.row_ids), 2, -1)  # (R, 2, D)
    keys = model.heads["memory"](batch).view(len(batch.row_ids), 2, -1)
    queue = model.heads["memory"].queue
    return {"contrast": sum(momentum_contrast(queries[:, n], keys[:, 1 - n], queue, 1.0) for n in (0, 1)) / 2}


def critic(tmp_path):
    still = partial(test_openings.with_critic, checkpoint=tiny.checkpoint(tmp_path / "still", 0.0))
    return replace(test_openings.critic(tmp_path), model=still)


def larger(tasks, done, *, model):
    """The new model with larger weights: its texts have vectors that differ, not by a few last bits of their cosine."""
    model = model(tasks, done)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)
    return model


METHODS = {
    "plain": lambda path: made(path, 0.0),
    "in small parts": lambda path: made(path, 0.0, token_budget=30),
    "together": lambda path: made(path, 0.0, objective=contrastive, together=first_tokens),
    "together in small parts": lambda path: made(path, 0.0, objective=by_group, together=all_tokens, token_budget=20),
    "combined": lambda path: made(path, 0.0, combine=pcgrad),
    "together and combined": lambda path: made(path, 0.0, objective=contrastive, together=first_tokens, combine=pcgrad),
    "critic": critic,
    "memory": lambda path: replace(test_openings.memory(path, 0.0), objective=contrast),
}
FEW = {"together in small parts": 5}  # rows a step, so that some ranks have none of a task
# Gradients of five rows that are close to each other are small differences, and keys were made by earlier steps.
BOUND = {"together in small parts": 2e-6, "memory": 4e-6}


def experiment(method: str, path: Path, **values) -> Experiment:
    values = dict(batch=FEW.get(method, 12), steps=STEPS, learning_rate=1e-4, epsilon=1e-6) | values
    made = METHODS[method](path)
    return replace(made, model=partial(larger, model=made.model), **values)


def recorded(experiment: Experiment, out: Path) -> None:
    """Runs it and leaves of each rank the gradients of all steps and the weights before the last one."""
    norm, gradients, weights = optimizer.norm, [], []

    def spy(model):
        parameters = list(model.parameters())
        gradients.append(torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]))
        weights[:] = [torch.cat([p.detach().flatten() for p in parameters])]
        return norm(model)

    optimizer.norm = spy
    run(experiment, out)
    np.savez(out / f"rank-{ranks.rank()}.npz", gradients=torch.stack(gradients), weights=weights[0])
    optimizer.norm = norm


def metrics(out: Path) -> list[dict]:
    (file,) = out.rglob("metrics.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "clock"} for line in lines]


def probabilities(out: Path) -> dict[str, list[float]]:
    lines = [json.loads(line) for file in sorted(out.rglob("predictions/*")) for line in file.open()]
    return {f"{number} {line['id']}": list(line["probabilities"].values()) for number, line in enumerate(lines)}


def without_key_biases(model) -> np.ndarray:
    """Which numbers of the flat weights have a true gradient."""
    kept = []
    for name, parameter in model.named_parameters():
        part = torch.ones_like(parameter, dtype=torch.bool)
        if name.endswith("qkv.bias"):
            part[len(part) // 3 : 2 * len(part) // 3] = False
        kept.append(part.flatten())
    return torch.cat(kept).numpy()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process leaves, by method."""

    @cache
    def made_once(method: str) -> Path:
        folder = tmp_path_factory.mktemp("alone")
        recorded(experiment(method, folder), folder / "runs")
        return folder

    return made_once


@pytest.mark.parametrize(
    "method, world",
    [*((method, 2) for method in METHODS), *((method, 4) for method in ("plain", "together in small parts", "critic"))],
)
def test_ranks_take_the_steps_that_one_process_takes(tmp_path, alone, method, world):
    folder = alone(method)
    made = experiment(method, folder)  # once: it writes its encoder's files
    assert in_ranks(world, lambda: recorded(made, tmp_path)) == [0] * world
    one, *several = [np.load(path) for path in (folder / "runs/rank-0.npz", *sorted(tmp_path.glob("rank-*.npz")))]
    assert len(several) == world and all((rank["weights"] == several[0]["weights"]).all() for rank in several)
    largest = np.abs(one["gradients"]).max(1)  # of each step
    off = np.abs(one["gradients"] - several[0]["gradients"]).max(1) / largest
    known = without_key_biases(made.model(made.tasks, {}))
    drift = np.abs(one["weights"] - several[0]["weights"])[known].max()
    print(f"{method}, {world} ranks: gradients {off.max():.1e} of the largest, weights {drift:.1e}")
    assert off.max() < BOUND.get(method, 1e-6) and drift < 1e-6
    compare(metrics(tmp_path), metrics(folder / "runs"))
    compare(probabilities(tmp_path), probabilities(folder / "runs"))


def test_a_memory_holds_the_same_on_all_ranks_where_rows_are_judged_together(tmp_path):
    """Every rank makes the keys of all rows then, and draws the same dropout for them."""
    memory = replace(test_openings.memory(tmp_path, 0.2), objective=contrast, together=all_tokens, steps=4)

    def start():
        queues, backward = [], train.backward

        def spy(*arguments):
            queues.append(arguments[1].heads["memory"].queue.clone())
            return backward(*arguments)

        train.backward = spy
        run(memory, tmp_path / "runs")
        np.save(tmp_path / f"rank-{ranks.rank()}.npy", torch.stack(queues))

    assert in_ranks(2, start) == [0, 0]
    one, other = [np.load(path) for path in sorted(tmp_path.glob("rank-*.npy"))]
    assert len(one) == 4 and (one == other).all() and (one[0] != one[-1]).any()


def compare(found, expected):
    """Numbers within 1e-5, all else equal."""
    if isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=1e-5, abs_tol=1e-5)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            compare(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            compare(one, other)
    else:
        assert found == expected


def test_some_ranks_have_no_row_of_a_task_in_some_steps(tmp_path):
    """Else the equalities above would prove less than they say."""
    few = FEW["together in small parts"]
    for batch, apart in ((12, False), (few, True)):
        made = experiment("plain", tmp_path, batch=batch)
        tasks = next(batches.steps([60, 40], seed=1, batch=batch, steps=1, sampling=made.sampling))[:, 0]
        counts = np.bincount(tasks)
        whole = batches.shares(np.full(batch, 5), 4)
        takers = [batches.shares(np.full(n, 5), 4) for n in counts] if apart else np.split(whole, counts[:1])
        assert counts.all() and any(len(set(taker)) < 4 for taker in takers)


def stopping(number: int, step: int, rank: int):
    """Sends this rank a signal in this step."""
    backward = train.backward

    def signalled(*arguments):
        if arguments[-1].step == step and ranks.rank() == rank:
            os.kill(os.getpid(), number)
        return backward(*arguments)

    train.backward = signalled


@pytest.mark.parametrize("first, then", [(2, 1), (1, 2), (2, 4)])
def test_a_run_goes_on_at_another_number_of_ranks(tmp_path, alone, first, then):
    """Without dropout it ends within 1e-5 of what one process ends with."""
    folder = alone("together")
    made = experiment("together", folder)

    def start():
        stopping(signal.SIGTERM, 20, first - 1)
        run(made, tmp_path)

    assert in_ranks(first, start) == [143] * first
    (checkpoint,) = [disk.read_json(path)["state"] for path in tmp_path.rglob("checkpoints/*21.json")]
    assert checkpoint["step"] == 21
    assert in_ranks(then, lambda: run(made, tmp_path)) == [0] * then
    compare(metrics(tmp_path), metrics(folder / "runs"))
    compare(probabilities(tmp_path), probabilities(folder / "runs"))


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_any_rank_ends_all_after_the_same_step_and_they_go_on_to_the_bit(tmp_path, number, code):
    with_dropout = made(tmp_path, 0.2, objective=contrastive, together=first_tokens)
    assert in_ranks(2, lambda: run(with_dropout, tmp_path / "whole")) == [0, 0]

    def start():
        stopping(number, 5, rank=1)
        run(with_dropout, tmp_path / "runs")

    assert in_ranks(2, start) == [code, code]
    assert max(path.stem for path in tmp_path.glob("runs/**/checkpoints/0*.json")) == "00000006"
    assert in_ranks(2, lambda: run(with_dropout, tmp_path / "runs")) == [0, 0]
    (one,), (other,) = [list((tmp_path / name).rglob("done")) for name in ("whole", "runs")]
    assert outcome(one.parent) == outcome(other.parent)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_is_named_and_ends_the_others_with_a_usable_checkpoint(tmp_path, capfd, rank):
    plain = made(tmp_path, 0.1)
    assert in_ranks(4, lambda: run(plain, tmp_path / "whole")) == [0] * 4

    def start():
        train.PATIENCE = train.WORTH = 0
        stopping(signal.SIGKILL, 7, rank)
        run(plain, tmp_path / "runs")

    capfd.readouterr()
    codes = in_ranks(4, start)
    told = [line for line in capfd.readouterr().err.splitlines() if "rocl: " in line]
    assert codes[rank] == -9 and {*codes} == {-9, 2}
    assert len(told) == 1 and f"rank {rank} of 4 ended without a word, most likely killed" in told[0]
    assert in_ranks(4, lambda: run(plain, tmp_path / "runs")) == [0] * 4
    (one,), (other,) = [list((tmp_path / name).rglob("done")) for name in ("whole", "runs")]
    assert outcome(one.parent) == outcome(other.parent)


def drawn_by_rank(tasks, done, *, model):
    torch.manual_seed(ranks.rank())
    return model(tasks, done)


def test_ranks_that_begin_with_other_weights_are_refused(tmp_path, capfd):
    alike = made(tmp_path)
    apart = replace(alike, model=partial(drawn_by_rank, model=alike.model))
    assert in_ranks(2, lambda: run(apart, tmp_path / "runs")) == [2, 2]
    told = [line for line in capfd.readouterr().err.splitlines() if "rocl: " in line]
    assert len(told) == 1 and "rank 1 begins with another folder, checkpoint or weights than rank 0" in told[0]


def broken(model, encoded, batch, progress):
    bad = math.nan if progress > 0.5 and batch.task == "many" else 1
    return {name: term * bad for name, term in by_row(model, encoded, batch, progress).items()}


def test_a_loss_that_is_no_number_is_told_once_by_the_rank_that_found_it(tmp_path, capfd):
    experiment = made(tmp_path, objective=broken, batch=8)
    assert in_ranks(2, lambda: run(experiment, tmp_path / "runs")) == [2, 2]
    told = [line for line in capfd.readouterr().err.splitlines() if "rocl: " in line]
    assert len(told) == 1 and "the loss many/cross_entropy is nan at step 7, rows train-" in told[0]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("world", [2, 3, 8])
def test_shares_are_all_rows_in_their_order_and_as_even_as_whole_rows_allow(seed, world):
    lengths = np.sort(np.random.default_rng(seed).integers(3, 129, 64))
    takers = batches.shares(lengths, world)
    assert (np.diff(takers) >= 0).all() and takers.min() >= 0 and takers.max() < world
    tokens = np.bincount(takers, lengths, world)
    assert np.abs(tokens - lengths.sum() / world).max() <= lengths.max()


GRAPH = """
import os, signal, sys
from rocl import command, ranks, train

backward, calls = train.backward, []


def deadly(*arguments):
    calls.append(1)
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and len(calls) == 28 and ranks.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return backward(*arguments)


if "deadly" in sys.argv:
    sys.argv.remove("deadly")
    train.backward, train.PATIENCE, train.WORTH = deadly, 0, 0
sys.exit(command.run(train.main))
"""


def test_torchrun_trains_a_graph_with_its_soft_labels_and_restarts_it_after_a_kill(tmp_path, monkeypatch):
    """The restarted graph ends with the bits of one that nobody killed, and one rank alone prints the table."""
    monkeypatch.setenv("TINY_ENCODER", str(tmp_path / "encoder"))
    tests = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{tests.parent}:{tests}")
    (tmp_path / "start.py").write_text(GRAPH)
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1"]
    run += [str(tmp_path / "start.py"), str(tests / "tiny_mtkd.py"), "--out"]
    killed = subprocess.run([*run, str(tmp_path / "killed"), "deadly"], capture_output=True, text=True)
    assert killed.returncode == 0, killed.stderr
    assert killed.stdout.count("## Runs") == 1
    assert killed.stderr.count("rank 1 of 2 ended without a word, most likely killed") == 1
    calm = partial(train.main, [str(tests / "tiny_mtkd.py"), "--out", str(tmp_path / "calm")])
    assert in_ranks(2, calm, enter=nullcontext) == [0, 0]
    assert graph_outcome(tmp_path / "killed") == graph_outcome(tmp_path / "calm")
    assert len(list((tmp_path / "killed").rglob("done"))) == 4


def test_a_mistake_that_all_ranks_make_is_told_once(tmp_path, capfd):
    wrong = partial(train.main, [str(tmp_path / "none.py")])
    assert in_ranks(3, wrong, enter=nullcontext) == [2, 2, 2]
    assert capfd.readouterr().err.count("no such experiment file") == 1


def test_a_world_without_torchrun_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert command.run(train.main, [str(tmp_path / "none.py")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "not RANK, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT" in told


HOLDER = """
import os, pathlib, sys, time
from rocl import runs

with runs.held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.05)
"""


def test_ranks_wait_for_a_run_that_another_process_trains(tmp_path, capfd):
    nodes = graph(made(tmp_path, steps=2), Scale.SAMPLE, 1, tmp_path / "runs", Path(__file__))
    line = [sys.executable, "-c", HOLDER, nodes[-1].folder, tmp_path / "seen"]
    holder = subprocess.Popen(line, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert holder.stdout.readline() == b"held\n"

    def start():
        original = train.attempt

        def spied(run) -> str:
            told = original(run)
            if told:
                (tmp_path / "seen").touch()
            return told

        train.attempt = spied
        train.walk(nodes)

    assert in_ranks(2, start) == [0, 0] and holder.wait() == 0
    assert capfd.readouterr().err.count(f"is being trained by process {holder.pid}\n") == 1
    assert (nodes[-1].folder / "done").exists()
