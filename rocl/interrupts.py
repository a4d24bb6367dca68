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
_alone = _leads = True
_arrived: int | None = None  # waits for the end of what holds it or, of several ranks, until all have agreed
_agreed: int | None = None


def _receive(number: int, frame) -> None:
    global _arrived
    if _leads and not _held:
        raise Interrupted(number)
    _arrived = number


def several(leads: bool) -> None:
    """From now on a signal ends nothing before `agree`; but outside of a block that holds it, it does on the first
    rank, which the others then miss."""
    global _alone, _leads
    _alone, _leads = False, leads


def arrived() -> int | None:
    """The signal that this process was sent, and that has not ended it yet."""
    return _arrived


def agree(number: int | None) -> None:
    """The signal that ends all ranks at the end of the block that holds it; None is none."""
    global _agreed
    _agreed = number


def install() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _receive)


@contextmanager
def held():
    """A signal that arrives inside waits for the end of the block."""
    global _held, _arrived, _agreed
    outer, _held = _held, True
    try:
        yield
    finally:
        _held = outer
    number = _arrived if _alone else _agreed
    if not outer and number is not None:
        _arrived = _agreed = None
        raise Interrupted(number)
