"""SIGINT and SIGTERM end a run between two steps, never inside one, and the exit code says which it was."""

import signal
from contextlib import contextmanager


class Interrupted(BaseException):
    """Raised where a signal may stop the run; not an Exception, so that no handler for errors swallows it."""

    def __init__(self, number: int):
        self.exit_code = 128 + number  # 130 for SIGINT, 143 for SIGTERM
        super().__init__(signal.Signals(number).name)


_held = False
_pending: int | None = None


def _receive(number: int, frame) -> None:
    global _pending
    if not _held:
        raise Interrupted(number)
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
