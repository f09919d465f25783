"""The log: one line per event on standard error, in logfmt.

    2026-11-22T10:00:00Z INFO event=peer-up service=tun peer=192.168.123.2

`event` writes such a line. Its values may come from strangers: they are quoted, cut
and freed of control characters, so that one event is one line whatever they hold.
Lines of other libraries become the event `log`.
"""

import json
import logging
import select
import sys
import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import TextIO

VALUE_LIMIT = 200
"""Characters of one value."""

_ROOT = "gateway"


def setup(level: str, stream: TextIO | None = None) -> logging.Logger:
    """Send this program's log to `stream` (standard error) from `level` up.

    `level` is debug, info, warning or error. Called again, it replaces what was set.
    """
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(_Formatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logger = logging.getLogger(_ROOT)
    logger.setLevel(level.upper())
    return logger


def get_logger(name: str) -> logging.Logger:
    """The logger `gateway.NAME`."""
    return logging.getLogger(f"{_ROOT}.{name}")


def event(logger: logging.Logger, level: int, name: str, **fields: object) -> None:
    """Log one event. A field that is None is left out."""
    if logger.isEnabledFor(level):
        logger.log(level, "%s", fields_text(event=name, **fields), extra={"logfmt": True})


def fields_text(**fields: object) -> str:
    """`key=value key="a value"`, in the order given."""
    return " ".join(
        f"{key.replace('_', '-')}={_quoted(value)}"
        for key, value in fields.items()
        if value is not None
    )


def _quoted(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    if len(text) > VALUE_LIMIT:
        text = text[: VALUE_LIMIT - 3] + "..."
    if text and all("!" <= c <= "~" and c not in '"=\\' for c in text):
        return text
    return json.dumps(text).replace("\x7f", "\\u007f")


class _Handler(logging.StreamHandler[TextIO]):
    """Never waits for whoever reads the log (I8): what has no room is counted and dropped.

    The descriptor may be shared with a terminal or a pipe of other programs, so it is not
    made non-blocking; poll(2) tells whether a line fits.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lost = 0
        try:
            self._fd = stream.fileno()
        except (OSError, ValueError):
            self._fd = -1

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, and before it how many were lost, if there is room."""
        if self._fd >= 0 and not _has_room(self._fd):
            self._lost += 1
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            self.stream.write(f"event=log-lost lines={lost}{self.terminator}")
        super().emit(record)


def _has_room(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


class _Formatter(logging.Formatter):
    """Time in UTC, level, and the event."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        if not getattr(record, "logfmt", False):
            record.message = fields_text(event="log", logger=record.name, text=record.message)
        return super().formatMessage(record)


class RateLimiter:
    """A token bucket for each cause, so that no cause can fill the log.

    Time is an argument (I11). A cause may come from strangers: only the `causes` most
    recent ones are remembered.
    """

    def __init__(self, interval: float, burst: int = 1, causes: int = 1024) -> None:
        """Allow `burst` events at once, then one every `interval` seconds."""
        self.interval = interval
        self.burst = burst
        self.causes = causes
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def allow(self, cause: Hashable, now: float) -> int | None:
        """How many events of this cause were held back since the last one; None: hold it back."""
        bucket = self._buckets.get(cause)
        if bucket is None:
            bucket = self._buckets[cause] = _Bucket(float(self.burst), now)
        self._buckets.move_to_end(cause)
        while len(self._buckets) > self.causes:
            self._buckets.popitem(last=False)
        gained = max(0.0, now - bucket.seen) / self.interval
        bucket.tokens = min(float(self.burst), bucket.tokens + gained)
        bucket.seen = now
        if bucket.tokens < 1.0:
            bucket.held += 1
            return None
        bucket.tokens -= 1.0
        held, bucket.held = bucket.held, 0
        return held


class _Bucket:
    __slots__ = ("held", "seen", "tokens")

    def __init__(self, tokens: float, seen: float) -> None:
        self.tokens = tokens
        self.seen = seen
        self.held = 0
