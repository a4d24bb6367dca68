"""Processes beside the first one, which train other runs of its graph: `ROCL_JOBS=2 python -m rocl.train ...`.

A small encoder gains little from a second thread, and two runs of one thread each do not wait for each other.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Thread

import torch

from rocl import command, ranks
from rocl.errors import UserError


def number() -> int:
    """How many runs are trained at a time: `ROCL_JOBS`, or one."""
    said = os.environ.get("ROCL_JOBS", "1")
    if not said.isdecimal() or int(said) == 0:
        raise UserError(f"ROCL_JOBS={said}: say how many runs are to be trained at a time, such as 2")
    if int(said) > 1 and ranks.world() > 1:
        raise UserError(f"ROCL_JOBS={said} trains runs side by side, torchrun one run by several processes: unset one")
    return int(said)


@contextmanager
def beside(jobs: int, work: Callable[[Sequence[str]], None], arguments: Sequence[str]) -> Iterator[None]:
    """Does the work in `jobs` - 1 more processes for as long as the block lasts, the threads shared out among all.

    They print nothing, and how they end is told nowhere: what one leaves undone the first finds and tries itself.
    """
    threads = max(1, torch.get_num_threads() // jobs)
    torch.set_num_threads(threads)
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit OpenMP's threads, which are not in it
    helpers = [spawn.Process(target=_help, args=(work, arguments, threads)) for _ in range(jobs - 1)]
    for helper in helpers:
        helper.start()
    try:
        yield
    except BaseException:
        for helper in helpers:
            helper.terminate()
        raise
    finally:
        for helper in helpers:
            helper.join()


def _help(work: Callable[[Sequence[str]], None], arguments: Sequence[str], threads: int) -> None:
    torch.set_num_threads(threads)
    Thread(target=_end_with_the_first, daemon=True).start()
    sys.stdout = sys.stderr = open(os.devnull, "w")  # to the last word, a traceback's too
    sys.exit(command.run(work, arguments))


def _end_with_the_first() -> None:
    """A first process that is killed has no time to say so."""
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)
