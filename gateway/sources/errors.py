"""What can go wrong with a source, and what of it the user sees."""

import os

from gateway.errors import HostError

REASON_LIMIT = 200


class SourceError(Exception):
    """A source cannot be read now. The message is one line without secrets.

    It never leaves this room: it becomes the `error` of a state, and the last good
    table stays.
    """

    def __init__(self, reason: str) -> None:
        shown = "".join(c if c.isprintable() else "?" for c in reason)
        cut = shown if len(shown) <= REASON_LIMIT else shown[: REASON_LIMIT - 3] + "..."
        super().__init__(cut)


class MissingExtraError(HostError):
    """A package is missing that an optional part needs. The message names the extra."""


def system_reason(error: OSError) -> str:
    """The system's words for an error: asyncio puts addresses of its own into them."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error.strerror or error) or type(error).__name__
