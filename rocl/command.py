"""What rocl's commands share: flags with "did you mean", one-line errors, and exit codes 0, 2, 130 and 143."""

import argparse
import errno
import re
import sys
from collections.abc import Callable, Sequence

from rocl import interrupts
from rocl.errors import UserError, nearest

MACHINE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST}


class Parser(argparse.ArgumentParser):
    """Flags are spelled out; a wrong one is told with the nearest right one."""

    def __init__(self, **words):
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **words)

    def error(self, message: str):
        known = [flag for action in self._actions for flag in action.option_strings]
        known += [str(choice) for action in self._actions for choice in action.choices or ()]
        for word in re.findall(r"[\w-]+", message.rpartition(":")[2]):
            if word not in known and (near := nearest(word, known)):
                message += f" (did you mean {near}?)"
                break
        raise UserError(f"{message}; {self.prog} --help shows what there is")


def run(main: Callable[[Sequence[str]], None], arguments: Sequence[str] | None = None) -> int:
    """The exit code of a command: a user's mistake is one line and 2, a signal is 130 or 143."""
    interrupts.install()
    for stream in filter(None, (sys.stdout, sys.stderr)):  # labels and texts hold letters that a terminal may not know
        stream.reconfigure(errors="backslashreplace")
    try:
        main(sys.argv[1:] if arguments is None else arguments)
        return 0
    except UserError as error:
        print(f"rocl: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in MACHINE:
            raise
        file = error.filename2 or error.filename or "a file"  # of a copy the second is what is written
        print(f"rocl: {file} cannot be written or read: {error.strerror}", file=sys.stderr)
        return 2
    except interrupts.Interrupted as signal:
        print(f"rocl: stopped by {signal}", file=sys.stderr)
        return signal.exit_code
