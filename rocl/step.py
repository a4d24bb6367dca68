"""One optimiser step's gradient: its rows are shared out among the ranks, cut to the token budget, encoded, judged, and
what comes of it is added up.

Letters: T tokens, B texts, D width, P numbers in all parameters.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from rocl import interrupts, ranks
from rocl.data import batches
from rocl.errors import UserError
from rocl.experiment import Experiment
from rocl.models.heads import Encoded, Model
from rocl.optimizer import Optimizers

Turn = tuple[batches.Table, np.ndarray, list[np.ndarray]]  # a task's table, its rows, those of each part of this rank
# A term of the loss, its mean over so many rows, whether it is minimised, the ids of the rows.
Term = tuple[str, Tensor | float, int, bool, Sequence[str]]
Rows = tuple[str, int, int]  # a task, rows and tokens of it


@dataclass
class Unread:
    """What a step tells, as it lies on the device."""

    step: int
    loss: Tensor | float  # () the sum of the terms of all ranks: where one of them is no number, neither is it
    terms: list[Term]
    rows: list[Rows]
    norm: Tensor | None = None  # () of the gradient, once the step is taken


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
    told: dict[str, list[float]] = field(default_factory=dict)  # sum and weight of what is only told, likewise
    seconds: float = 0.0  # of work, over all interruptions
    unread: list[Unread] = field(default_factory=list)  # of the steps since the last `settle`; none in a checkpoint


def backward(
    experiment: Experiment,
    model: Model,
    tables: Sequence[batches.Table],
    pairs: np.ndarray,
    seed: int,
    progress: float,
    optimizers: Optimizers,
    scaler: torch.amp.GradScaler,
    state: State,
) -> int:
    """Adds the gradient of a step's mean loss over its (task, row) pairs; returns the number of tokens it took.

    The rows are cut into batches of one task each, and these go through the encoder as many at once as the token
    budget allows. Every sum is divided by the rows of the whole step, so where the cuts fall changes nothing. Tasks
    whose gradients are combined go through it one after the other. Each rank takes a share of the rows; gradients,
    losses and the signal of any rank are those of all afterwards. Nothing is read back from a GPU: what is told of the
    step goes to `state.unread`.
    """
    model.train()
    if ranks.world() > 1:  # a function of the step, so that no checkpoint need keep it for each rank
        draw_anew(seed, state.step, ranks.rank())
    alike = partial(drawing_alike, seed, state.step, model.device)
    judged = len(pairs) * (ranks.world() if experiment.together else 1)  # rows that stand together all ranks judge
    told: list[tuple[batches.Batch, dict[str, Tensor | float]]] = []

    def taken(table: batches.Table, rows: np.ndarray) -> batches.Batch:
        batch = table.batch(rows)
        if experiment.alter:
            batch = experiment.alter(model, batch, partial(batches.uniforms, batch, seed, state.step))
            batch = replace(batch, lengths=batch.starts.diff().tolist())
        return batch.to(model.device)

    def judge(pieces: Sequence[tuple[batches.Batch, Encoded]]) -> None:
        loss = torch.zeros((), device=model.device)
        for batch, encoded in pieces:
            terms = experiment.objective(model, encoded, batch, progress)
            told.append((batch, terms))
            mean = sum(term.mean() for term in terms.values() if isinstance(term, Tensor))
            loss = loss + mean * len(batch.row_ids) / judged
        scaler.scale(loss).backward()

    turns = shared(experiment, tables, pairs)
    if experiment.inner:
        sharpen(experiment, model, turns, taken, progress, optimizers, alike)
    gradients = {}
    at_once: list[batches.Batch] = []
    for table, rows, cuts in turns:
        parts = [taken(table, cut) for cut in cuts]
        if experiment.together and (len(parts) > 1 or ranks.world() > 1):
            encode_together(model, taken(table, rows), parts, experiment.together, judge, alike)
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
    terms, rows = met(told, once=bool(experiment.together))
    past = Unread(state.step, sum(value for _, value, *_ in terms), terms, rows)
    for parameter, gradient in zip(model.parameters(), collected(model), strict=True):
        parameter.grad = gradient
    if experiment.combine:
        found = combined(experiment, model.encoder, gradients, np.random.default_rng([seed, state.step, 2]))
        past.terms[:0] = [(f"gradients/{name}", value, 1, False, ()) for name, value in found.items()]
    state.unread.append(past)
    return sum(tokens for *_, tokens in rows)


def shared(experiment: Experiment, tables: Sequence[batches.Table], pairs: np.ndarray) -> list[Turn]:
    """A step's tasks in turn, their rows shortest first, and what this rank takes of them: as many tokens as the other
    ranks, of each task if its rows are judged together, else of all tasks in a line."""
    numbers = np.unique(pairs[:, 0])
    rows = [tables[number].by_length(pairs[pairs[:, 0] == number, 1]) for number in numbers]
    lengths = [tables[number].lengths_of(own) for number, own in zip(numbers, rows, strict=True)]
    lines = lengths if experiment.together else [np.concatenate(lengths)]
    takers = np.concatenate([batches.shares(line, ranks.world()) for line in lines])  # of every row
    turns = []
    for number, own, taker in zip(numbers, rows, np.split(takers, np.cumsum([*map(len, rows)])[:-1]), strict=True):
        mine = own[taker == ranks.rank()]
        cuts = list(tables[number].cut(mine, experiment.token_budget)) if len(mine) else []
        turns.append((tables[number], own, cuts))
    return turns


def sharpen(
    experiment: Experiment,
    model: Model,
    turns: Sequence[Turn],
    taken: Callable[[batches.Table, np.ndarray], batches.Batch],
    progress: float,
    optimizers: Optimizers,
    alike: Callable[[], AbstractContextManager],
) -> None:
    """The updates of some heads before the step, all on the vectors that the step's rows have now; every rank makes
    them on those of all ranks. Gradients end at these heads; the step draws its dropout as if nothing had come before.
    """
    inner, moment = experiment.inner, random_state(model.device)
    heads = nn.ModuleList(model.heads[name] for name in inner.heads).requires_grad_(True)
    pieces = []
    for table, rows, cuts in turns:
        parts = [taken(table, cut) for cut in cuts]
        with torch.no_grad():
            encoded = [model.encode(part) for part in parts]
        if ranks.world() > 1:
            parts = [taken(table, rows)]
            encoded = [of_all(model, parts[0], encoded)[0]]
        pieces += zip(parts, encoded, strict=True)
    with alike():
        for _ in range(inner.steps(progress)):
            if (loss := inner.loss(model, pieces, progress)) is None:
                break
            loss.backward()
            optimizers["inner"].step()
            optimizers["inner"].zero_grad()
            if inner.after:
                inner.after(heads)
    heads.requires_grad_(False)
    set_random_state(moment)


def collected(module: nn.Module) -> list[Tensor | None]:
    """The gradients of a module's parameters, summed over all ranks; None where no rank has one. It keeps none."""
    gradients = [parameter.grad for parameter in module.parameters()]
    module.zero_grad(set_to_none=True)
    if ranks.world() == 1:
        return gradients
    counts = ranks.summed(torch.tensor([gradient is not None for gradient in gradients]).int())  # of ranks that have it
    used = [place for place, count in enumerate(counts.tolist()) if count]
    if not used:
        return gradients
    parameters = list(module.parameters())
    parts = [torch.zeros_like(parameters[n]) if gradients[n] is None else gradients[n] for n in used]
    flat = ranks.summed(torch.cat([part.flatten() for part in parts]))  # (P,)
    for place, part, total in zip(used, parts, flat.split([part.numel() for part in parts]), strict=True):
        gradients[place] = total.view_as(part)
    return gradients


def combined(
    experiment: Experiment,
    encoder: nn.Module,
    gradients: Mapping[str, Sequence[Tensor | None]],
    order: np.random.Generator,
) -> dict[str, Tensor | float]:
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
    alike: Callable[[], AbstractContextManager],
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
    with alike():
        judge([(whole, encoded)])
    after = random_state(model.device)
    gradient = encoded.tokens.grad[own].mul_(ranks.world())  # of the whole loss, of which it has judged a share
    if alone:
        return pieces[0].tokens.backward(gradient)
    gradients = gradient.split([len(piece.tokens) for piece in pieces])
    # The longest come first: what they leave of memory serves the others.
    for part, moment, gradient in zip(parts[::-1], moments[::-1], gradients[::-1], strict=True):
        set_random_state(moment)
        keep(model.encode(part)).tokens.backward(gradient)
    set_random_state(after)


def of_all(model: Model, whole: batches.Batch, pieces: Sequence[Encoded]) -> tuple[Encoded, slice]:
    """The vectors of a task's rows, of which this rank has encoded some, without a graph, and the place of its own."""
    nothing = torch.empty(0, model.encoder.config.width, device=model.device)
    tokens, own = ranks.gathered(torch.cat([piece.tokens.detach() for piece in pieces] or [nothing]))  # (T, D)
    counts = torch.cat([piece.starts.diff() for piece in pieces] or [whole.starts[:0]])
    lengths, _ = ranks.gathered(counts)  # (B,)
    starts = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))  # (B + 1,)
    return Encoded(tokens, starts, whole.rows, None), own


def draw_anew(seed: int, step: int, stream: int) -> None:
    """Lets torch draw what is a function of these numbers alone."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, stream]).generate_state(1, np.uint64)[0] >> np.uint64(1)))


@contextmanager
def drawing_alike(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """All ranks draw the same in the block and go on as if it had not been; a rank alone just goes on."""
    if ranks.world() == 1:
        yield
        return
    moment = random_state(device)
    draw_anew(seed, step, ranks.world())  # a stream that is no rank's
    yield
    set_random_state(moment)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's generators that dropout draws from."""
    state = {"random/cpu": torch.get_rng_state()}
    return state | {"random/cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else state


def set_random_state(state: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(state["random/cpu"])
    if "random/cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["random/cuda"])


def met(told: Sequence[tuple[batches.Batch, dict[str, Tensor | float]]], once: bool) -> tuple[list[Term], list[Rows]]:
    """What all ranks tell of a step, or the first one alone where all have judged the same; and the signal that one of
    them was sent ends them all."""
    terms: list[Term] = []
    for batch, named in told:
        for name, term in named.items():
            value = term.detach().float().mean() if isinstance(term, Tensor) else float(term)
            terms.append((f"{batch.task}/{name}", value, len(batch.row_ids), isinstance(term, Tensor), batch.row_ids))
    rows = [(batch.task, len(batch.row_ids), len(batch.ids)) for batch, _ in told]
    if ranks.world() == 1:
        interrupts.agree(interrupts.arrived())
        return terms, rows
    own = [], []
    if not (once and ranks.rank()):
        values = read([value for _, value, *_ in terms])
        numbers = [(name, value, *rest) for (name, _, *rest), value in zip(terms, values, strict=True)]
        own = numbers, rows
    everyone = ranks.exchanged([*own, interrupts.arrived()])
    interrupts.agree(max((signal for *_, signal in everyone if signal), default=None))
    return [term for terms, _, _ in everyone for term in terms], [row for _, rows, _ in everyone for row in rows]


def read(values: Sequence[Tensor | float]) -> list[float]:
    """All as numbers, by one look at the device."""
    there = [value for value in values if isinstance(value, Tensor)]
    numbers = iter(torch.stack(there).tolist() if there else [])
    return [next(numbers) if isinstance(value, Tensor) else value for value in values]


def settle(state: State, scaler: torch.amp.GradScaler) -> float | None:
    """Adds what the steps since the last time have told to the sums; returns the norm of the last one's gradient.

    A loss or a gradient that is no number is a UserError. Its step was not taken, see `optimizer.take`."""
    unread, norm = state.unread, None
    numbers = iter(read([value for past in unread for value in (*(value for _, value, *_ in past.terms), past.norm)]))
    state.unread = []
    for past in unread:
        terms = [(name, next(numbers), *rest) for name, _, *rest in past.terms]
        norm = next(numbers)
        # Under too large a scale gradients are no numbers; it was halved since.
        scaled = not math.isfinite(norm) and scaler.is_enabled() and scaler.get_scale() > 0.5
        for name, value, *_, ids in terms:
            if not math.isfinite(value) and not name.startswith("gradients/"):  # of these the norm tells
                few = ", ".join(ids[:8]) + (", ..." if len(ids) > 8 else "")
                raise UserError(
                    f"the loss {name} is {value} at step {past.step}, rows {few}: the step was not taken and the last "
                    "checkpoint stands; lower the learning rate or look at these rows"
                )
        if not math.isfinite(norm) and not scaled:
            raise UserError(
                f"the gradient's norm is {norm} at step {past.step}, though the loss is a number: the step was not "
                "taken and the last checkpoint stands; look for a root or a logarithm of 0"
            )
        note(state, [term for term in terms if math.isfinite(term[1])], past.rows)
    return norm


def note(state: State, terms: Sequence[Term], rows: Sequence[Rows]) -> None:
    """Adds a step's terms to the sums."""
    for name, value, count, minimised, _ in terms:
        if minimised:
            state.sums[name] = state.sums.get(name, 0.0) + value * count
        else:
            total, weight = state.told.get(name, (0.0, 0.0))
            state.told[name] = [total + value * count, weight + count]
    for task, count, _ in rows:
        for sums in (state.rows, state.seen):
            sums[task] = sums.get(task, 0) + count
