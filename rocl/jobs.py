"""Processes beside the first one, which train other runs of its graph: `ROCL_JOBS=2 python -m rocl.train ...`.

A small encoder gains little from a second thread, and two runs of one thread each do not wait for each other.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import torch

from rocl import interrupts, ranks
from rocl.errors import UserError

HELPS = "ROCL_HELPS"  # tells a process that it is one of those beside, and the last run of the graph


def number() -> int:
    """How many runs are trained at a time: `ROCL_JOBS`, or one."""
    said = os.environ.get("ROCL_JOBS", "1")
    if not said.isdecimal() or int(said) == 0:
        raise UserError(f"ROCL_JOBS={said}: say how many runs are to be trained at a time, such as 2")
    if int(said) > 1 and ranks.world() > 1:
        raise UserError(f"ROCL_JOBS={said} trains runs side by side, torchrun one run by several processes: unset one")
    return int(said)


@contextmanager
def beside(helpers: int, arguments: Sequence[str], last: Path) -> Iterator[None]:
    """Has so many more processes train runs of the graph while the block lasts, each with as many threads as this one.

    They print nothing. What one leaves undone the first finds and tries itself; of one that was lost it is told.
    """
    line = [sys.executable, "-m", "rocl.train", *arguments]
    place = os.environ | {HELPS: str(last), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    nowhere = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started: list[subprocess.Popen] = []
    try:
        with interrupts.held():  # a signal finds all of them or none
            started += (subprocess.Popen(line, env=place, **nowhere) for _ in range(helpers))
        yield
    except BaseException:
        for helper in started:
            helper.stdin.close()  # it saves and ends
        raise
    finally:
        try:
            lost = [code for helper in started if (code := helper.wait())]
        except interrupts.Interrupted:  # asked again: what takes long is not waited for
            for helper in started:
                helper.kill()
            raise
    if lost:
        print(f"a process beside this one ended early (code {lost[0]}): its runs were trained here", file=sys.stderr)


def helps(last: Path) -> bool:
    """Whether this process is one of those beside; UserError if the graph is not what the first process read."""
    if HELPS not in os.environ:
        return False
    if os.environ[HELPS] != str(last):
        raise UserError(f"{last} is not {os.environ[HELPS]}: the experiment file was changed in between")
    return True


def end_with_the_first() -> None:
    """A process beside another ends when that one does, which may be killed and have no time to say so."""

    def wait() -> None:
        os.read(0, 1)  # nothing is ever written: it returns when the first process closes the pipe, or is gone
        os.kill(os.getpid(), signal.SIGTERM)

    if HELPS in os.environ:
        Thread(target=wait, daemon=True).start()
