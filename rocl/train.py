"""Runs an experiment file: whatever it needs is trained first, once, and what was interrupted goes on to the bit.

python -m rocl.train experiments/mtkd.py --scale sample --seed 1         in a second terminal too: they share the runs
ROCL_JOBS=2 python -m rocl.train experiments/mtkd.py                     the same by one command: two runs at a time
torchrun --nproc-per-node 4 -m rocl.train experiments/mtkd.py            the same steps, each shared by four processes
"""

import math
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import product, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from tqdm import tqdm

from rocl import check, command, disk, finish, jobs, metrics, optimizer, ranks, report, runs
from rocl.data import batches
from rocl.data.task import Task
from rocl.errors import UserError, hint
from rocl.experiment import Experiment, Node, changed, graph, graphs, parsed, parser
from rocl.interrupts import Interrupted, held
from rocl.models import checkpoints
from rocl.models.heads import Model
from rocl.optimizer import Optimizers
from rocl.predict import Done, outputs, ready, results, tables
from rocl.step import State, backward, random_state, set_random_state, settle

Tables = Sequence[batches.Table]

REHEARSED = 64  # rows of a split in a dry run
GLANCE = 0.3  # seconds between two looks at what other processes train
LOOKS = 100  # log lines of a run while it trains
PATIENCE = 3.0  # seconds of work that a kill may cost, or
WORTH = 20  # times what writing a checkpoint takes, where that is longer: 5 % of the time at most


def fit(experiment: Experiment, model: Model, train: Tables, dev: Tables, folder: Path, seed: int) -> State:
    """Trains the model in place and keeps the weights that do best on dev, by the mean of the tasks' metrics.

    Stopped anywhere, it goes on from the last checkpoint in `folder` and, on a CPU with as many threads, ends with the
    same bits. A loss that is not finite is a UserError with step, task and rows. Of several ranks all train the same
    weights, and the first one alone looks at dev, logs and writes.
    """
    first = ranks.rank() == 0
    sizes = [len(table) for table in train]
    steps = experiment.length(sum(sizes))
    looks = {max(1, round(n * steps / experiment.evaluations)) for n in range(1, experiment.evaluations)} | {steps}
    log_every = max(1, steps // LOOKS)
    optimizers: dict[str, torch.optim.Optimizer] = {}
    if experiment.inner:  # first, for what it trains is not trained by the step
        if strange := [name for name in experiment.inner.heads if name not in model.heads]:
            raise UserError(
                f"{experiment.name}: the model has no head called {strange[0]}, as its inner updates ask for"
            )
        parts = nn.ModuleList(model.heads[name] for name in experiment.inner.heads).requires_grad_(False)
        optimizers["inner"] = torch.optim.Adam(parts.parameters(), experiment.inner.learning_rate)
    groups = optimizer.groups(
        model, experiment.learning_rate, decay=experiment.layer_decay, weight_decay=experiment.weight_decay
    )
    options = {"betas": experiment.betas, "eps": experiment.epsilon}
    stepping = optimizer.optimizers(model, groups, experiment.words, **options)
    optimizers |= stepping
    rated = [group for each in stepping.values() for group in each.param_groups]
    scaler = torch.amp.GradScaler(model.device.type, enabled=model.precision == torch.float16)
    read_every = log_every if reads_late(model.device) and not scaler.is_enabled() else 1
    state = State()
    torch.manual_seed(seed)
    with ranks.leading():  # who comes first removes a damaged checkpoint
        found = runs.latest(folder / "checkpoints")
    if found:
        try:
            state = restore(*found, model, optimizers, scaler)
        except (TypeError, ValueError) as error:  # other code, under the same values
            why = f"the code that made its checkpoint is not this one ({error})"
            raise UserError(f"{folder} cannot go on: {why}: take that code, or remove the folder") from error
        print(f"{experiment.name}: going on at step {state.step} of {steps}", file=sys.stderr)
    begin_alike(folder, state.step, model)
    log = runs.Log(folder, state.log_size, state.step) if first else None
    began = time.monotonic() - state.seconds
    order = batches.steps(
        sizes, seed=seed, batch=experiment.batch, steps=steps, sampling=experiment.sampling, start=state.step
    )
    bar = tqdm(
        total=steps, initial=state.step, desc=experiment.name, unit="step", dynamic_ncols=True, mininterval=PATIENCE
    )
    saved, cost, lap, tokens = time.monotonic(), 0.0, time.monotonic(), 0
    try:
        while True:
            if first and state.step in looks and state.evaluated < state.step:
                with held():  # what was told is not lost half read
                    settle(state, scaler)
                begun = time.monotonic()
                evaluate(experiment, model, dev, folder, state, log)
                lap += time.monotonic() - begun
            state.seconds = time.monotonic() - began
            if first and (state.step == steps or time.monotonic() - saved > max(PATIENCE, WORTH * cost)):
                with held():
                    settle(state, scaler)
                    begun = time.monotonic()
                    save(folder, state, log, model, optimizers, scaler)
                saved, cost = time.monotonic(), time.monotonic() - begun
            if state.step == steps:
                return state
            with held():  # a signal waits for the end of the step
                progress = state.step / steps
                for group in rated:
                    group["lr"] = group["rate"] * optimizer.warmup_linear(progress, experiment.warmup)
                tokens += backward(experiment, model, train, next(order), seed, progress, optimizers, scaler, state)
                past = state.unread[-1]
                past.norm = optimizer.take(model, stepping, scaler, experiment.clip, past.loss)
                if (state.step + 1) % read_every == 0:
                    norm = settle(state, scaler)
                # rows that are judged together every rank has seen
                model.advance(None if experiment.together else lambda keys: ranks.gathered(keys)[0])
                state.step += 1
                if first and state.step % log_every == 0:
                    speed = tokens / (time.monotonic() - lap)
                    loss = write_line(log, state, progress, stepping["adamw"], norm, speed)
                    score = f"{state.best['score']:.3f}" if state.best else "not yet scored"
                    bar.set_postfix_str(f"loss {loss:.3f}, dev {score}, {speed:.0f} tokens/s", refresh=False)
                    lap, tokens = time.monotonic(), 0
            bar.update()
    except Interrupted:
        with held():  # nor may a second signal cut it short
            settle(state, scaler)
            if first:
                save(folder, state, log, model, optimizers, scaler)
            bar.write(f"{experiment.name}: saved at step {state.step}; the same command goes on from here", sys.stderr)
        raise
    finally:
        bar.close()
        if log:
            log.close()


def reads_late(device: torch.device) -> bool:
    """Whether what steps tell is read once in many steps: a look at a GPU waits for all that it has been given to do.
    Several ranks exchange it at every step, and a scale that overflows is looked at once it has."""
    return device.type == "cuda" and ranks.world() == 1


def begin_alike(folder: Path, step: int, model: Model) -> None:
    """Ranks that found another folder or checkpoint, or made other weights, would not notice that they drift apart."""
    if ranks.world() == 1:
        return
    weights = [zlib.crc32(tensor.cpu().numpy().tobytes()) for tensor in model.state_dict().values()]
    beginnings = ranks.exchanged([str(folder), step, weights])
    if others := [number for number, beginning in enumerate(beginnings) if beginning != beginnings[0]]:
        raise UserError(
            f"{folder}: rank {others[0]} begins with another folder, checkpoint or weights than rank 0; --out must be "
            "shared by all, and what `model` draws must come from torch, which is seeded"
        )


def write_line(
    log: runs.Log, state: State, progress: float, adamw: torch.optim.Optimizer, norm: float, speed: float
) -> float:
    """Logs the means of all terms since the last line, and where the run stands; returns the mean loss a row."""
    values = {f"loss/{name}": total / state.rows[name.split("/")[0]] for name, total in state.sums.items()}
    values |= {f"train/{name}": total / weight for name, (total, weight) in state.told.items()}
    values |= {f"share/{task}": rows / sum(state.seen.values()) for task, rows in state.seen.items()}
    values["loss/all"] = loss = sum(state.sums.values()) / sum(state.rows.values())
    values["train/progress"] = progress
    values["train/learning_rate"] = max(group["lr"] for group in adamw.param_groups)
    values["train/gradient_norm"] = norm
    state.sums, state.told, state.rows = {}, {}, {}
    log.write(state.step, values, {"speed/tokens_per_second": speed})
    return loss


def evaluate(
    experiment: Experiment, model: Model, dev: Sequence[batches.Table], folder: Path, state: State, log: runs.Log
) -> None:
    """Scores on dev, decided as test will be; keeps the weights if the mean of the metrics is the best so far."""
    values, means = {}, []
    for table in dev:
        task = table.task
        if not len(table) or (task.kind == "text" and not experiment.judge):
            continue  # of a task without a metric: its training rows are all that is asked of it
        if task.kind == "text":
            scores = experiment.judge(model, table)
        else:
            gold, said = table.columns["labels"], outputs(model, table, model.heads[task.name])
            scores = metrics.scores(gold, said, task.labels, task.kind, metrics.dev_thresholds(gold, said, task.kind))
        values |= {f"dev/{task.name}/{name}": value for name, value in scores.items()}
        if task.metric is None:
            continue
        if task.metric not in scores:
            raise UserError(f"{task.name}: there is no metric {task.metric!r}{hint(task.metric, list(scores))}")
        if not math.isfinite(scores[task.metric]):
            raise UserError(f"{task.name}: {task.metric} is {scores[task.metric]} on dev at step {state.step}")
        means.append(scores[task.metric])
    if not means:
        raise UserError(f"{experiment.name}: no task with a metric has dev rows, by which the weights are chosen")
    with held():
        score = sum(means) / len(means)
        log.write(state.step, {**values, "dev/score": score})
        state.evaluated = state.step
        if score > state.best.get("score", -math.inf):
            name = f"best-{state.step:08d}.safetensors"
            runs.write_tensors(folder / "checkpoints" / name, model.state_dict())
            state.best = {"step": state.step, "score": score, "file": name}


def save(
    folder: Path, state: State, log: runs.Log, model: Model, optimizers: Optimizers, scaler: torch.amp.GradScaler
) -> None:
    state.log_size = log.size()
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()} | random_state(model.device)
    for (kind, moments), (name, parameter) in product(optimizers.items(), model.named_parameters()):
        tensors |= {f"{kind}/{name}/{key}": tensor for key, tensor in moments.state.get(parameter, {}).items()}
    runs.save(
        folder / "checkpoints",
        state.step,
        tensors,
        {"state": asdict(state), "best": state.best.get("file"), "scaler": scaler.state_dict()},
    )


def restore(
    tensors: Mapping[str, Tensor], saved: Mapping, model: Model, optimizers: Optimizers, scaler: torch.amp.GradScaler
) -> State:
    """Sets everything as it was when `save` was called."""
    parts: dict[str, dict[str, Tensor]] = {kind: {} for kind in ("model", "random", *optimizers)}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        parts[kind][rest] = tensor
    then, now = ({name: tuple(t.shape) for name, t in of.items()} for of in (parts["model"], model.state_dict()))
    if differ := [name for name in {**then, **now} if then.get(name) != now.get(name)]:
        raise ValueError(f"{differ[0]} was {then.get(differ[0])} and is {now.get(differ[0])}")
    model.load_state_dict(parts["model"])
    for (kind, moments), (name, parameter) in product(optimizers.items(), model.named_parameters()):
        own = {key.rpartition("/")[2]: t for key, t in parts[kind].items() if key.rpartition("/")[0] == name}
        if own:
            moments.state[parameter] = {key: tensor.to(parameter.device) for key, tensor in own.items()}
    if saved["scaler"]:  # empty where the run began on a device that needs none
        scaler.load_state_dict(saved["scaler"])
    set_random_state({f"random/{name}": tensor for name, tensor in parts["random"].items()})
    return State(**saved["state"])


def train(node: Node, done: Mapping[str, Done]) -> None:
    """Brings one node of the graph to its end, from wherever it stands."""
    experiment, folder, first = node.experiment, node.folder, ranks.rank() == 0
    if ranks.agreed((folder / "done").exists()):  # by another process, a moment ago
        return
    with ranks.leading():  # what it makes on disk on the way: tokens, soft labels
        tasks = list(experiment.tasks(done) if callable(experiment.tasks) else experiment.tasks)
        torch.manual_seed(node.seed)
        model = ready(experiment.model(tasks, done))
        rows = [tables(model, tasks, split, node.out) for split in ("train", "dev")]
    for task in [task for task in tasks if task.kind != "text"]:
        if task.name not in model.heads:
            raise UserError(f"{experiment.name}: the model has no head called {task.name}, as the task is; add it")
        checkpoints.judge_head(folder, model.encoder.config, model.heads[task.name], task.labels)
    if first:
        finish.describe(folder, node, tasks, model)
    state = fit(experiment, model, *rows, folder, node.seed)
    if not first:
        return
    disk.write_json(folder / "clock.json", {"seconds": round(state.seconds, 1)})
    log = runs.Log(folder, state.log_size, state.step)
    finish.finish(folder, node, tasks, model, state.best, log, state.step)


def main(arguments: Sequence[str]) -> None:
    jobs.end_with_the_first()
    with ranks.joined():
        options, several = parse(arguments), jobs.number()
        with ranks.leading():  # it downloads what is missing, and tokenises
            nodes = graphs(options)
            last = nodes[-1].folder
            helps = jobs.helps(last)
            if ranks.rank() == 0 and not helps:
                check.check(nodes)
        if helps:
            walk(nodes)
            return
        if options.dry_run:
            rehearse(nodes[-1])
            return print("dry run: every run took a step")
        ours = [run for run in results(nodes) if run.node.experiment.objective]
        to_do = sum(not over(run) for run in ours)
        if (at_once := min(several, len(ours))) > 1:  # not by what is to do: a run that goes on keeps its threads
            torch.set_num_threads(max(1, torch.get_num_threads() // at_once))
        with jobs.beside(min(several, to_do) - 1, arguments, last):
            trained = [run for run in walk(nodes) if run.node.experiment.objective]
            if ranks.rank() == 0:
                print(report.report(trained, last))


def walk(nodes: Sequence[Node]) -> list[Done]:
    """Trains what is not done yet, needs first. What another process trains is left to it while there is something else
    to do: the same command in a second terminal shares the work, and goes on with what the first leaves unfinished."""
    done, told = results(nodes), ""
    while ready := ranks.agreed([n for n, run in enumerate(done) if startable(run)]):
        holders = list(takewhile(bool, (attempt(done[n]) for n in ready)))  # ends where one was free
        if len(holders) < len(ready):
            continue
        if told != (told := f"waiting: {'; '.join(holders)}"):
            print(told, file=sys.stderr)
        time.sleep(GLANCE)
    return done


def startable(run: Done) -> bool:
    return not over(run) and all(map(over, run.needs.values()))


def over(run: Done) -> bool:
    """Whether it has come to its end; a study has when all that it needs has."""
    return (run.folder / "done").exists() if run.node.experiment.objective else all(map(over, run.needs.values()))


def attempt(run: Done) -> str:
    """Trains it, or says which process does."""
    holder = ""
    with ExitStack() as stack:
        try:
            if ranks.rank() == 0:
                stack.enter_context(runs.held(run.folder))
        except runs.Held as error:
            holder = str(error)
        if not (holder := ranks.agreed(holder)):
            train(run.node, run.needs)
    return holder


def rehearse(node: Node) -> None:
    """One step of the node and of all it needs, on a few rows, to the end of each run; nothing of it is kept."""

    def few(task: Task) -> Task:
        splits = {split: task.rows(split)[:REHEARSED] for split in task.corpus.splits}
        columns = {name: column[:REHEARSED] for name, column in task.columns.items()}
        corpus = replace(task.corpus, files=(), read=lambda files: splits)
        return replace(task, corpus=corpus, cuts=(), drop_leaks=False, columns=columns)

    def short(experiment: Experiment) -> Experiment:
        steps = {"epochs": None, "steps": 0 if experiment.steps == 0 else 1, "evaluations": 1}
        steps = steps if experiment.objective else {}
        needs = {name: short(need) for name, need in experiment.needs.items()}
        return replace(experiment, needs=needs, **steps)

    node.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="dry-run-", dir=node.out) as folder:
        place = Path(ranks.agreed(folder))
        walk(graph(short(changed(node.experiment, Task, few)), node.scale, node.seed, place, node.source))


def parse(arguments: Sequence[str]):
    """The flags of a run; there are no others, and a test keeps it so. A variant of a method is another value."""
    flags = parser("python -m rocl.train", __doc__)
    flags.add_argument(
        "--dry-run", action="store_true", help="check everything and take one step of every run, keep nothing"
    )
    return parsed(flags, arguments)


if __name__ == "__main__":
    sys.exit(command.run(main))
