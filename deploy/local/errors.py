"""What can go wrong in the local stack, and what the person at the terminal is told.

Exception
├── Refused    it can't be done: one sentence that says what is wrong and what to type
└── NotReady   not yet: ask again in a moment; the text says what is awaited
"""

from __future__ import annotations

import errno


class Refused(Exception):
    """The text is shown as it is, without a traceback, and the command ends with code 1."""


class NotReady(Exception):
    """A program runs and does not serve yet."""


def sentence(error: Refused | OSError) -> str:
    """What the person at the terminal is told of `error`, and what they can do about it."""
    if isinstance(error, Refused):
        return str(error)
    where = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full{where and ', at'}{where}: free some space and type make up again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"Not allowed to write{where}: set TEMAS_HOME and TEMAS_CACHE to folders of your own, or mend who owns it."
        )
    return f"The system refused{where} ({error.strerror or error}): see to that and type make up again."
