"""What the benchmarks measure with: timing in turns, peak memory in a fresh process, growth; and how they tell it."""

import argparse
import json
import math
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import torch

from rocl import runs

VERSIONS = ("rocl", "python", "torch", "tokenizers", "safetensors", "numpy")
MIB = 2**20


def clock() -> float:
    """Seconds, once the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(works: Mapping[str, Callable[[], object]], rounds: int, patience: float = math.inf) -> dict[str, list[float]]:
    """Seconds of each work in each round, after a round that does not count.

    Works come in turns, there and back, so that a machine that slows down slows all of them. Once they have taken
    `patience` seconds there is no further round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name in list(works)[:: -1 if number % 2 else 1]:
            begun = clock()
            works[name]()
            seconds[name].append(clock() - begun)
        if number and sum(map(sum, seconds.values())) > patience:
            break
    return {name: values[1:] for name, values in seconds.items()}


def told(seconds: Sequence[float] | None, name: str = "") -> dict[str, float | None]:
    """Median, lowest and highest in milliseconds, as columns of a table; None of what was not run."""
    values = (statistics.median(seconds), min(seconds), max(seconds)) if seconds else (None, None, None)
    keys = (f"{name}ms", f"{name}lowest_ms", f"{name}highest_ms")
    return {key: value and 1000 * value for key, value in zip(keys, values, strict=True)}


def ratio(over: Sequence[float], under: Sequence[float], name: str) -> dict[str, float]:
    """The ratio of two medians, and the lowest and highest ratio of a round, as columns of a table."""
    each = [one / other for one, other in zip(over, under, strict=True)]
    median = statistics.median(over) / statistics.median(under)
    return {name: median, f"{name}_lowest": min(each), f"{name}_highest": max(each)}


def exponent(sizes: Sequence[float], values: Sequence[float | None]) -> float | None:
    """The b of values = a * sizes ** b, by least squares on logarithms; None where a value is missing or 0."""
    if len(sizes) < 2 or not all(values):
        return None
    return float(np.polyfit(np.log(sizes), np.log(np.array(values, float)), 1)[0])


def peak(prepare: Callable[..., Callable[[], object]], *arguments: object) -> float | None:
    """MiB that the work which `prepare(*arguments)` returns takes at most, beyond what was there before it.

    On a CPU both run in a fresh process; None where that process is killed or fails, which it tells itself."""
    if torch.cuda.is_available():
        work = prepare(*arguments)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / MIB
    # Not by subprocess or spawn: a process so started inherits the peak of the one that starts it (Linux counts the
    # memory that exec replaces), and would import torch anew each time. The server's children have the server's.
    context = server()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_peak, args=(sender, prepare, arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv() / MIB
    except EOFError:
        return None
    finally:
        process.join()


def server() -> multiprocessing.context.BaseContext:
    """What starts fresh processes that have imported all they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.made_up", "torch._dynamo"])  # the second a first optimiser imports
    return context


def _peak(sender, prepare: Callable[..., Callable[[], object]], arguments: Sequence[object]) -> None:
    work = prepare(*arguments)
    before = _resident()
    work()
    sender.send(max(0, _highest() - before))


def _highest() -> int:
    """The most bytes that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _resident() -> int:
    """Bytes that this process has in memory now; where that is not told, the most it has had."""
    file = Path("/proc/self/statm")
    return int(file.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if file.exists() else _highest()


def memory() -> float:
    """MiB that the device, or the machine, has in all."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[1] / MIB
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / MIB


def environment() -> dict[str, object]:
    """Date, device, versions and commit, for the last line of every benchmark."""
    facts = runs.environment()
    return {
        "date": date.today().isoformat(),
        "device": facts["device"],
        "cores": facts["cores"],
        "threads": facts["threads"],
        "versions": {name: facts[name] for name in VERSIONS},
        "commit": facts["git"],
        "changed": bool(facts["git_changes"]),  # files differ from the commit
    }


def cell(value: object) -> str:
    """A value in a table: three digits, and what is missing was not run."""
    if value is None:
        return "not run"
    if not isinstance(value, float) or math.isnan(value):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def tell(benchmark: str, results: Sequence[Mapping[str, object]], **facts: object) -> None:
    """Prints the results as a table, and last one line of JSON."""
    print(runs.markdown([name.replace("_", " ") for name in results[0]], [map(cell, row.values()) for row in results]))
    print(json.dumps({"benchmark": benchmark, **environment(), **facts, "results": results}, allow_nan=False))


def short(description: str | None) -> bool:
    """Whether the command line asks for the short form."""
    flags = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--short", action="store_true", help="fewer and smaller sizes, in seconds")
    return flags.parse_args().short
