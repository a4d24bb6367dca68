"""SIGINT and SIGTERM end a run between two steps, never inside one, and the exit code says which it was. Of several
ranks each tells the others of its signal, and they end after the same step."""

import signal
from contextlib import contextmanager


class Interrupted(BaseException):
    """Raised where a signal may stop the run; not an Exception, so that no handler for errors swallows it."""

    def __init__(self, number: int):
        self.exit_code = 128 + number  # 130 for SIGINT, 143 for SIGTERM
        super().__init__(signal.Signals(number).name)


_held = False
_pending: int | None = None  # ends the run when nothing holds it any more
_arrived: int | None = None
_alone = _leads = True


def _receive(number: int, frame) -> None:
    global _arrived, _pending
    _arrived = number
    if _leads and not _held:
        raise Interrupted(number)
    if _alone:
        _pending = number


def several(leads: bool) -> None:
    """From now on a signal ends nothing before `agree`; but outside of a block that holds it, it does on the first
    rank, which the others then miss."""
    global _alone, _leads
    _alone, _leads = False, leads


def arrived() -> int | None:
    """The signal that this process was sent."""
    return _arrived


def agree(number: int | None) -> None:
    """The signal that ends all ranks at the end of the block that holds it; None is none."""
    global _pending
    _pending = number


def install() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _receive)


@contextmanager
def held():
    """A signal that arrives inside waits for the end of the block."""
    global _held, _pending
    outer, _held = _held, True
    try:
        yield
    finally:
        _held = outer
    if not outer and _pending is not None:
        number, _pending = _pending, None
        raise Interrupted(number)
