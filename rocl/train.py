"""Runs an experiment file: whatever it needs is trained first, once, and what was interrupted goes on to the bit.

python -m rocl.train experiments/mtkd.py --scale sample --seed 1
torchrun --nproc-per-node 4 -m rocl.train experiments/mtkd.py            the same steps, each shared by four processes
"""

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from rocl import check, command, disk, finish, interrupts, metrics, optimizer, ranks, report, runs
from rocl.data import batches
from rocl.data.task import Task
from rocl.errors import UserError, hint
from rocl.experiment import Experiment, Node, changed, graph, graphs, parsed, parser
from rocl.interrupts import Interrupted, held
from rocl.models import checkpoints
from rocl.models.heads import Encoded, Model
from rocl.predict import Done, device, outputs, precision, results, tables

REHEARSED = 64  # rows of a split in a dry run
LOOKS = 100  # log lines of a run while it trains
PATIENCE = 3.0  # seconds of work that a kill may cost, or
Term = tuple[str, float, int, bool]  # a term of the loss, its mean over so many rows, whether it is minimised
Rows = tuple[str, int, int]  # a task, rows and tokens of it
WORTH = 20  # times what writing a checkpoint takes, where that is longer: 5 % of the time at most


@dataclass
class State:
    """What changes in a run beside weights, moments and random state; all of it stands in every checkpoint."""

    step: int = 0  # finished optimiser steps
    evaluated: int = -1  # the step at which dev was last looked at
    best: dict = field(default_factory=dict)  # step, score, file and sha256 of the best weights so far
    log_size: int = 0  # bytes of metrics.jsonl
    sums: dict[str, float] = field(default_factory=dict)  # of every loss term, since the last line
    rows: dict[str, int] = field(default_factory=dict)  # of every task, since the last line
    seen: dict[str, int] = field(default_factory=dict)  # of every task, since the start
    told: dict[str, list[float]] = field(
        default_factory=dict
    )  # sum and weight of what is only told, since the last line
    seconds: float = 0.0  # of work, over all interruptions


def fit(
    experiment: Experiment,
    model: Model,
    train: Sequence[batches.Table],
    dev: Sequence[batches.Table],
    folder: Path,
    seed: int,
) -> State:
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
    adamw = optimizers["adamw"] = optimizer.adamw(
        optimizer.groups(
            model, experiment.learning_rate, decay=experiment.layer_decay, weight_decay=experiment.weight_decay
        ),
        betas=experiment.betas,
        eps=experiment.epsilon,
    )
    scaler = torch.amp.GradScaler(model.device.type, enabled=model.precision == torch.float16)
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
    if len({(place, step) for place, step in ranks.exchanged([str(folder), state.step])}) > 1:
        raise UserError(f"{folder}: not all ranks find this run, or its checkpoint, there; --out must be shared by all")
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
                begun = time.monotonic()
                evaluate(experiment, model, dev, folder, state, log)
                lap += time.monotonic() - begun
            state.seconds = time.monotonic() - began
            if first and (state.step == steps or time.monotonic() - saved > max(PATIENCE, WORTH * cost)):
                begun = time.monotonic()
                with held():
                    save(folder, state, log, model, optimizers, scaler)
                saved, cost = time.monotonic(), time.monotonic() - begun
            if state.step == steps:
                return state
            with held():  # a signal waits for the end of the step
                progress = state.step / steps
                for group in adamw.param_groups:
                    group["lr"] = group["rate"] * optimizer.warmup_linear(progress, experiment.warmup)
                tokens += backward(experiment, model, train, next(order), seed, progress, optimizers, scaler, state)
                scaler.unscale_(adamw)
                norm = nn.utils.clip_grad_norm_(model.parameters(), experiment.clip)
                if not math.isfinite(norm) and scaler.get_scale() <= 1:  # a larger scale is halved, the step skipped
                    raise UserError(
                        f"the gradient's norm is {norm.item()} at step {state.step}, though the loss is a number: the "
                        "step was not taken and the last checkpoint stands; look for a root or a logarithm of 0"
                    )
                scaler.step(adamw)
                scaler.update()
                adamw.zero_grad()
                # what stands behind all rows of a task has shown them to every rank already
                model.advance(None if experiment.together else lambda keys: ranks.gathered(keys)[0])
                state.step += 1
                if first and state.step % log_every == 0:
                    speed = tokens / (time.monotonic() - lap)
                    loss = write_line(log, state, progress, adamw, norm, speed)
                    score = f"{state.best['score']:.3f}" if state.best else "not yet scored"
                    bar.set_postfix_str(f"loss {loss:.3f}, dev {score}, {speed:.0f} tokens/s", refresh=False)
                    lap, tokens = time.monotonic(), 0
            bar.update()
    except Interrupted:
        if first:
            save(folder, state, log, model, optimizers, scaler)
        bar.write(f"{experiment.name}: saved at step {state.step}; the same command goes on from here", sys.stderr)
        raise
    finally:
        bar.close()
        if log:
            log.close()


def backward(
    experiment: Experiment,
    model: Model,
    tables: Sequence[batches.Table],
    pairs: np.ndarray,
    seed: int,
    progress: float,
    optimizers: Mapping[str, torch.optim.Optimizer],
    scaler: torch.amp.GradScaler,
    state: State,
) -> int:
    """Adds the gradient of a step's mean loss over its (task, row) pairs; returns the number of tokens it took.

    The rows are cut into batches of one task each, and these go through the encoder as many at once as the token
    budget allows. Every sum is divided by the rows of the whole step, so where the cuts fall changes nothing. Tasks
    whose gradients are combined go through it one after the other. Each rank takes a share of the rows; gradients,
    losses and the signal of any rank are those of all afterwards.
    """
    model.train()
    if ranks.world() > 1:  # dropout is a function of the step, so that it need not be kept for each rank
        draw_anew(seed, state.step, ranks.rank())
    told: list[tuple[batches.Batch, dict[str, Tensor | float]]] = []

    def taken(table: batches.Table, rows: np.ndarray) -> batches.Batch:
        batch = table.batch(rows)
        if experiment.alter:
            batch = experiment.alter(model, batch, partial(batches.uniforms, batch, seed, state.step))
        return batch.to(model.device)

    def judge(pieces: Sequence[tuple[batches.Batch, Encoded]]) -> None:
        loss = torch.zeros((), device=model.device)
        for batch, encoded in pieces:
            terms = experiment.objective(model, encoded, batch, progress)
            told.append((batch, terms))
            mean = sum(term.mean() for term in terms.values() if isinstance(term, Tensor))
            loss = loss + mean * len(batch.row_ids) / len(pairs)
        if experiment.together and ranks.world() > 1:  # each judges all rows
            loss = loss / ranks.world()
        scaler.scale(loss).backward()

    turns = []  # of each task its table, its rows and those of each part that this rank takes
    for number in np.unique(pairs[:, 0]):
        turns.append((tables[number], tables[number].by_length(pairs[pairs[:, 0] == number, 1])))
    turns = [
        (table, rows, list(table.cut(own, experiment.token_budget)) if len(own) else [])
        for (table, rows), own in zip(turns, shared(turns, apart=bool(experiment.together)), strict=True)
    ]
    if experiment.inner:
        shown = [([taken(table, cut) for cut in cuts], partial(taken, table, rows)) for table, rows, cuts in turns]
        sharpen(experiment, model, shown, progress, optimizers, partial(draw_anew, seed, state.step, ranks.world()))
    gradients = {}
    at_once: list[batches.Batch] = []
    for table, rows, cuts in turns:
        parts = [taken(table, cut) for cut in cuts]
        if experiment.together and (len(parts) > 1 or ranks.world() > 1):
            encode_together(model, taken(table, rows), parts, experiment.together, judge)
            parts = []
        for part in parts:
            if at_once and sum(len(batch.ids) for batch in (*at_once, part)) > experiment.token_budget:
                judge(encode(model, at_once, experiment.together))
                at_once = []
            at_once.append(part)
        if at_once and experiment.combine:
            judge(encode(model, at_once, experiment.together))
            at_once = []
        if experiment.combine:
            gradients[table.task.name] = collected(model.encoder)
    if at_once:
        judge(encode(model, at_once, experiment.together))
    terms, rows = read(told, state.step)
    if experiment.together and ranks.rank():  # what it has judged, the first rank tells
        terms, rows = [], []
    terms, rows = meet(model, gradients, terms, rows)
    if experiment.combine:
        found = combined(experiment, model.encoder, gradients, np.random.default_rng([seed, state.step, 2]))
        # Under too large a scale gradients are no numbers, nor is what is told of them.
        for name, value in [(name, value) for name, value in found.items() if math.isfinite(value)]:
            total, weight = state.told.get(f"gradients/{name}", (0.0, 0.0))
            state.told[f"gradients/{name}"] = [total + value, weight + 1]
    note(state, terms, rows)
    return sum(tokens for *_, tokens in rows)


def shared(turns: Sequence[tuple[batches.Table, np.ndarray]], apart: bool) -> list[np.ndarray]:
    """The rows of each task that this rank takes: all ranks' together are all rows in their order. Where tasks are to
    be met `apart`, every rank takes of each as many tokens as the others, else of all."""
    if ranks.world() == 1 or not turns:
        return [rows for _, rows in turns]
    lengths = [table.lengths[rows] for table, rows in turns]
    if apart:
        takers = [batches.shares(each, ranks.world()) for each in lengths]
    else:
        takers = np.split(batches.shares(np.concatenate(lengths), ranks.world()), np.cumsum([*map(len, lengths)])[:-1])
    return [rows[taker == ranks.rank()] for (_, rows), taker in zip(turns, takers, strict=True)]


def meet(
    model: Model, gradients: dict[str, list[Tensor | None]], terms: list[Term], rows: list[Rows]
) -> tuple[list[Term], list[Rows]]:
    """Makes of this rank's gradients, the tasks' own and the model's, the sum over all ranks, and of its signal the
    signal of all; returns what all ranks tell. A gradient that no rank has stays None."""
    if ranks.world() == 1:
        return terms, rows
    encoder, every = list(model.encoder.parameters()), list(model.parameters())
    owners = [*encoder * len(gradients), *every]
    found = [gradient for part in gradients.values() for gradient in part] + [p.grad for p in every]
    used = "".join("0" if gradient is None else "1" for gradient in found)
    everyone = ranks.exchanged([terms, rows, used, interrupts.arrived() or 0])
    interrupts.agree(max(signal for *_, signal in everyone) or None)
    some = [place for place, marks in enumerate(zip(*(line[2] for line in everyone), strict=True)) if "1" in marks]
    parts = [(torch.zeros_like(owners[n]) if found[n] is None else found[n]).flatten() for n in some]
    flat = ranks.summed(torch.cat(parts))  # (P,)
    for place, part in zip(some, flat.split([len(part) for part in parts]), strict=True):
        found[place] = part.view_as(owners[place])
    for number, name in enumerate(gradients):
        gradients[name] = found[number * len(encoder) : (number + 1) * len(encoder)]
    for parameter, gradient in zip(every, found[-len(every) :], strict=True):
        parameter.grad = gradient
    return [term for line in everyone for term in line[0]], [row for line in everyone for row in line[1]]


def sharpen(
    experiment: Experiment,
    model: Model,
    shown: Sequence[tuple[Sequence[batches.Batch], Callable[[], batches.Batch]]],
    progress: float,
    optimizers: Mapping[str, torch.optim.Optimizer],
    alike: Callable[[], None],
) -> None:
    """The updates of some heads before the step, all on the vectors that the step's rows have now. Gradients end at
    these heads; the step draws its dropout as if nothing had come before.

    `shown` are of each task the parts of this rank and all of its rows. Every rank makes the same updates: on vectors
    of all rows, with what `alike` lets it draw.
    """
    inner, moment = experiment.inner, random_state(model.device)
    heads = nn.ModuleList(model.heads[name] for name in inner.heads).requires_grad_(True)
    with torch.no_grad():
        pieces = [[(part, model.encode(part)) for part in parts] for parts, _ in shown]
        if ranks.world() > 1:
            own = [[encoded for _, encoded in some] for some in pieces]
            wholes = [(whole(), some) for (_, whole), some in zip(shown, own, strict=True)]
            pieces = [[(batch, of_all(model, batch, some)[0])] for batch, some in wholes]
            alike()
    pieces = [piece for some in pieces for piece in some]
    for _ in range(inner.steps(progress)):
        inner.loss(model, pieces, progress).backward()
        optimizers["inner"].step()
        optimizers["inner"].zero_grad()
        if inner.after:
            inner.after(heads)
    heads.requires_grad_(False)
    set_random_state(moment)


def collected(encoder: nn.Module) -> list[Tensor | None]:
    """The gradients of the encoder's parameters, which have none afterwards."""
    gradients = [parameter.grad for parameter in encoder.parameters()]
    encoder.zero_grad(set_to_none=True)
    return gradients


def combined(
    experiment: Experiment,
    encoder: nn.Module,
    gradients: Mapping[str, Sequence[Tensor | None]],
    order: np.random.Generator,
) -> dict[str, float]:
    """Gives the encoder what the experiment makes of its gradients, one list a task; returns what it tells of them."""
    columns = zip(encoder.parameters(), *gradients.values(), strict=True)
    used = [(p, parts) for p, *parts in columns if any(part is not None for part in parts)]
    flat = [
        torch.cat([(torch.zeros_like(p) if parts[task] is None else parts[task]).flatten() for p, parts in used])
        for task in range(len(gradients))
    ]  # (P,) each
    total, told = experiment.combine(dict(zip(gradients, flat, strict=True)), order)
    for (parameter, _), part in zip(used, total.split([p.numel() for p, _ in used]), strict=True):
        parameter.grad = part.view_as(parameter)
    return told


def encode(
    model: Model, parts: Sequence[batches.Batch], keep: Callable[[Encoded], Encoded] | None
) -> list[tuple[batches.Batch, Encoded]]:
    """Each batch with its vectors, or what `keep` leaves of them, all encoded in one pass."""
    tokens = model.encode(batches.joined(parts)).tokens.split([len(part.ids) for part in parts])
    pieces = [Encoded(t, part.starts, part.rows, None) for part, t in zip(parts, tokens, strict=True)]
    return list(zip(parts, map(keep, pieces) if keep else pieces, strict=True))


def encode_together(
    model: Model,
    whole: batches.Batch,
    parts: Sequence[batches.Batch],
    keep: Callable[[Encoded], Encoded],
    judge: Callable,
) -> None:
    """Judges rows that do not fit the budget as one group, in the memory of one part and of what `keep` leaves of all
    vectors (Gao et al. 2021, 2101.06983).

    The parts are encoded without a graph; when the loss has gone back as far as the vectors, each part is encoded
    again with the same dropout and their gradient carried on into the encoder. A part that is alone keeps its graph.

    Of several ranks each encodes its parts, judges the vectors of all, as a share of the loss, and carries back the
    gradient of its own.
    """
    moments, pieces, alone = [], [], len(parts) == 1
    with torch.set_grad_enabled(alone):
        for part in parts:
            moments.append(random_state(model.device))
            pieces.append(keep(model.encode(part)))
    encoded, own = of_all(model, whole, pieces)
    encoded.tokens.requires_grad_()
    judge([(whole, encoded)])
    after = random_state(model.device)
    gradient = encoded.tokens.grad[own]
    if ranks.world() > 1:
        gradient = gradient * ranks.world()  # of the whole loss, whose share it has judged
    if alone:
        return pieces[0].tokens.backward(gradient)
    gradients = gradient.split([len(piece.tokens) for piece in pieces])
    for part, moment, gradient in zip(parts, moments, gradients, strict=True):
        set_random_state(moment)
        keep(model.encode(part)).tokens.backward(gradient)
    set_random_state(after)


def of_all(model: Model, whole: batches.Batch, pieces: Sequence[Encoded]) -> tuple[Encoded, slice]:
    """The vectors of a task's rows, of which this rank has encoded some, without a graph, and the place of its own."""
    empty = torch.empty(0, model.encoder.config.width, device=model.device)
    tokens, own = ranks.gathered(torch.cat([piece.tokens.detach() for piece in pieces] or [empty]))  # (T, D)
    counts = torch.cat([piece.starts.diff() for piece in pieces] or [whole.starts[:0]])
    lengths, _ = ranks.gathered(counts)  # (B,)
    starts = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))  # (B + 1,)
    return Encoded(tokens, starts, whole.rows, None), own


def draw_anew(seed: int, step: int, stream: int) -> None:
    """Lets torch draw what is a function of these numbers alone."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, stream]).generate_state(1, np.uint64)[0] >> np.uint64(1)))


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's generators that dropout draws from."""
    state = {"random/cpu": torch.get_rng_state()}
    return state | {"random/cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else state


def set_random_state(state: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(state["random/cpu"])
    if "random/cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["random/cuda"])


def read(told: Sequence[tuple[batches.Batch, dict[str, Tensor | float]]], step: int) -> tuple[list[Term], list[Rows]]:
    """A step's terms as numbers; one read of the device, which also finds a loss that is no number."""
    names = [(batch, f"{batch.task}/{name}", term) for batch, terms in told for name, term in terms.items()]
    losses = [term.detach().float().mean() for *_, term in names if isinstance(term, Tensor)]
    means, terms = iter(torch.stack(losses).tolist() if losses else []), []  # a rank may have no row
    for batch, name, term in names:
        value = next(means) if isinstance(term, Tensor) else float(term)
        if not math.isfinite(value):
            ids = ", ".join(batch.row_ids[:8]) + (", ..." if len(batch.row_ids) > 8 else "")
            raise UserError(
                f"the loss {name} is {value} at step {step}, rows {ids}: the step was not taken and the last "
                "checkpoint stands; lower the learning rate or look at these rows"
            )
        terms.append((name, value, len(batch.row_ids), isinstance(term, Tensor)))
    return terms, [(batch.task, len(batch.row_ids), len(batch.ids)) for batch, _ in told]


def note(state: State, terms: Sequence[Term], rows: Sequence[Rows]) -> None:
    """Adds a step's terms to the sums."""
    for name, value, count, minimised in terms:
        if minimised:
            state.sums[name] = state.sums.get(name, 0.0) + value * count
        else:
            total, weight = state.told.get(name, (0.0, 0.0))
            state.told[name] = [total + value * count, weight + count]
    for task, count, _ in rows:
        for sums in (state.rows, state.seen):
            sums[task] = sums.get(task, 0) + count


def write_line(
    log: runs.Log, state: State, progress: float, adamw: torch.optim.Optimizer, norm: Tensor, speed: float
) -> float:
    """Logs the means of all terms since the last line, and where the run stands; returns the mean loss a row."""
    values = {f"loss/{name}": total / state.rows[name.split("/")[0]] for name, total in state.sums.items()}
    values |= {f"train/{name}": total / weight for name, (total, weight) in state.told.items()}
    values |= {f"share/{task}": rows / sum(state.seen.values()) for task, rows in state.seen.items()}
    values["loss/all"] = loss = sum(state.sums.values()) / sum(state.rows.values())
    values["train/progress"] = progress
    values["train/learning_rate"] = max(group["lr"] for group in adamw.param_groups)
    values["train/gradient_norm"] = norm.item()
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
    folder: Path,
    state: State,
    log: runs.Log,
    model: Model,
    optimizers: Mapping[str, torch.optim.Optimizer],
    scaler: torch.amp.GradScaler,
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
    tensors: Mapping[str, Tensor],
    saved: Mapping,
    model: Model,
    optimizers: Mapping[str, torch.optim.Optimizer],
    scaler: torch.amp.GradScaler,
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
    with runs.held(folder) if first else nullcontext():
        if ranks.agreed((folder / "done").exists()):  # finished by another process while this one waited
            return
        with ranks.leading():  # what it makes on disk on the way: tokens, soft labels
            tasks = list(experiment.tasks(done) if callable(experiment.tasks) else experiment.tasks)
            torch.manual_seed(node.seed)
            model = experiment.model(tasks, done).to(device())
            rows = [tables(model, tasks, split, node.out) for split in ("train", "dev")]
        model.precision = precision(model.device, model.encoder.config.width)
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
    with ranks.joined():
        options = parse(arguments)
        with ranks.leading():  # it downloads what is missing, and tokenises
            nodes = graphs(options)
            if ranks.rank() == 0:
                check.check(nodes)
        if options.dry_run:
            rehearse(nodes[-1])
            return print("dry run: every run took a step")
        finished = [run for run in walk(nodes) if run.node.experiment.objective]
        if ranks.rank() == 0:
            print(report.report(finished, nodes[-1].folder))


def walk(nodes: Sequence[Node]) -> list[Done]:
    """Trains what is not done yet, needs first."""
    done = results(nodes)
    for run in done:
        if run.node.experiment.objective and not ranks.agreed((run.folder / "done").exists()):
            train(run.node, run.needs)
    return done


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
