"""The processes that train one run together under torchrun, and all that they say to each other. A process alone joins
no group, and every function here hands back what it is given.

torchrun --nproc-per-node 4 -m rocl.train experiments/mtkd.py
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from rocl import interrupts
from rocl.errors import UserError

PATIENCE = timedelta(days=7)  # of those who wait while the first rank downloads, tokenises, scores and finishes
PLACE = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun tells each rank
GRACE = 2.0  # seconds in which those who are alive say that they leave

_gloo: "dist.ProcessGroup | None" = None  # for what lies on the CPU, and all there is where ranks share a GPU


class Lost(Exception):
    """Raised where the others could not be reached; `joined` makes of it what can be told."""


def world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


@contextmanager
def joined() -> Iterator[None]:
    """Makes torchrun's processes a group: gloo between CPUs, NCCL between GPUs where each process has its own.

    Only the first rank prints. Whoever leaves by an error takes all others along: the first to leave says why, the
    exit code is the same for all, and of a rank that is gone without a word it is told that it was killed.
    """
    global _gloo
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    if missing := [name for name in PLACE if name not in os.environ]:
        raise UserError(f"WORLD_SIZE is set but not {', '.join(missing)}: start ranks by torchrun, or unset it")
    gpus = torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % gpus)
    own = gpus >= int(os.environ["LOCAL_WORLD_SIZE"])
    store, number, size = next(dist.rendezvous("env://"))
    store = dist.PrefixStore(f"rocl {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    interrupts.several(leads=number == 0)
    try:
        place = {"store": store, "rank": number, "world_size": size, "timeout": PATIENCE}
        _call(dist.init_process_group, "nccl" if own else "gloo", **place)
        _gloo = dist.new_group(backend="gloo", timeout=PATIENCE) if own else dist.group.WORLD
        with open(os.devnull, "w") as nowhere:
            out, err = (nowhere, nowhere) if number else (sys.stdout, sys.stderr)
            with redirect_stdout(out), redirect_stderr(err):
                yield
    except BaseException as error:
        with interrupts.held():
            _leave(error, store, number, size)
        raise
    _gloo = None
    dist.destroy_process_group()


def _leave(error: BaseException, store: "dist.Store", number: int, size: int) -> None:
    """Takes the others along; returns if this rank is the one to tell its error, else raises what it ends with."""
    code = getattr(error, "exit_code", 2 if isinstance(error, UserError | OSError | Lost) else 1)
    store.set(f"{number} left", str(code))
    if number and isinstance(error, interrupts.Interrupted):  # the first rank is saving
        _absent(store, [0], time.monotonic() + 30 * GRACE)
    who, code = store.compare_set("told", "", f"{number} {code}").decode().split()
    _hang_up(error)
    if int(who) != number:
        raise SystemExit(int(code)) from None
    if not isinstance(error, Lost):
        return
    if gone := _absent(store, range(size), time.monotonic() + GRACE):
        if 0 in gone:
            print(file=sys.stderr)  # behind the bar that it left
        which = f"rank {gone[0]}" if len(gone) == 1 else f"ranks {', '.join(map(str, gone))}"
        why = "most likely killed (out of memory?): the last checkpoint stands, and the same command goes on from it"
        raise UserError(f"{which} of {size} ended without a word, {why}") from error
    raise error.__cause__ from None


def _absent(store: "dist.Store", ranks: Iterable[int], until: float) -> list[int]:
    """Those of the ranks that have not said that they leave when the time is over."""
    while (gone := [n for n in ranks if not store.check([f"{n} left"])]) and time.monotonic() < until:
        time.sleep(0.05)
    return gone


def _hang_up(error: BaseException) -> None:
    """Closes gloo's connections, so that whoever waits for this rank fails at once. NCCL's end with the process: to
    close them before would be to wait for the others."""
    global _gloo
    group, _gloo = _gloo, None
    if group and dist.is_initialized():
        dist.destroy_process_group(group)
    if error.__cause__:  # the call that failed still holds the group, and thereby its connections
        traceback.clear_frames(error.__cause__.__traceback__)


def _call(collective: Callable, *arguments: Any, **options: Any) -> None:
    try:
        collective(*arguments, **options)
    except RuntimeError as error:  # of gloo and NCCL
        raise Lost(str(error)) from error


def _group(tensor: Tensor) -> "dist.ProcessGroup":
    """Over NCCL goes only what follows a call over gloo, which fails where a rank is gone; NCCL would wait for it."""
    return dist.group.WORLD if tensor.is_cuda else _gloo


def summed(tensor: Tensor) -> Tensor:
    """The sum over all ranks, in place and to the bit the same on all of them."""
    if world() > 1:
        _call(dist.all_reduce, tensor, group=_group(tensor))
    return tensor


def gathered(tensor: Tensor) -> tuple[Tensor, slice]:
    """The tensors of all ranks joined along their first dimension, in which they may differ, and this rank's place.
    A rank that has no row need not know the width."""
    if world() == 1:
        return tensor, slice(None)
    shapes = [torch.empty(tensor.ndim, dtype=torch.long) for _ in range(world())]
    _call(dist.all_gather, shapes, torch.tensor(tensor.shape), group=_gloo)
    lengths, shape = [shape[0].item() for shape in shapes], torch.stack(shapes).amax(0).tolist()
    padded = tensor.new_zeros(shape)
    if len(tensor):
        padded[: len(tensor)] = tensor
    parts = [torch.empty_like(padded) for _ in lengths]
    if shape[0]:
        _call(dist.all_gather, parts, padded, group=_group(padded))
    begin = sum(lengths[: rank()])
    return torch.cat([part[:n] for part, n in zip(parts, lengths, strict=True)]), slice(begin, begin + len(tensor))


def exchanged(value: Any) -> list[Any]:
    """What each rank gives, anything that JSON can hold, in the order of ranks."""
    if world() == 1:
        return [value]
    lines, _ = gathered(torch.frombuffer(bytearray(json.dumps(value).encode() + b"\n"), dtype=torch.uint8))
    return [json.loads(line) for line in lines.numpy().tobytes().splitlines()]


def agreed(value: Any) -> Any:
    """What the first rank gives, on all of them."""
    return exchanged(value)[0]


@contextmanager
def leading() -> Iterator[None]:
    """The first rank does what is in the block; the others do it after that, and find on disk what it left there."""
    if rank():
        exchanged(None)
    yield
    if not rank():
        exchanged(None)
