"""A user's mistake, told in one line that ends with the fix."""

import difflib
from collections.abc import Sequence


class UserError(Exception):
    """A mistake of the user's or of their machine's, told in one line that holds the fix."""


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that a mistyped one most probably meant."""
    return next(iter(difflib.get_close_matches(word, known, n=1)), None)


def hint(word: str, known: Sequence[str]) -> str:
    """What a message about a wrong name ends with, where there is a name like it."""
    near = nearest(word, known)
    return f" (did you mean {near}?)" if near else ""
