"""A forked child that ends itself, whatever happens: it must not go on as a second pytest."""

import os
import signal
import sys
from collections.abc import Callable


def forked(action: Callable[[], int], longest: int = 0) -> int:
    """The process id of a child that does this and exits with the code it returns, or 70 where it returns none; with
    `longest` it is ended after so many seconds."""
    if pid := os.fork():
        return pid
    code = 70
    try:
        signal.alarm(longest)
        code = action()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)
