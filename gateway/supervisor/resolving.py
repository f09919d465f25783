"""The supervisor's side of the resolver: numbered queries out, answers to who asked.

A query dies with the resolver that had it; its asker asks again by itself.
"""

from collections.abc import Callable

from gateway.protocol.messages import FromChild, Resolve, Resolved
from gateway.supervisor.children import Member

QUERIES_KEPT = 256


class Resolving:
    """Open queries. `member` is the resolver, once there is one."""

    def __init__(self) -> None:
        self.member: Member | None = None
        self._next = 0
        self._waiting: dict[int, Callable[[Resolved], None]] = {}

    def ask(self, host: str, port: int, answer: Callable[[Resolved], None]) -> None:
        """Ask; `answer` is called in a later turn, or never."""
        self._next += 1
        self._waiting[self._next] = answer
        while len(self._waiting) > QUERIES_KEPT:
            del self._waiting[next(iter(self._waiting))]
        if self.member is not None and self.member.life is not None:
            self.member.life.feed.put(Resolve(self._next, host, port))

    def on_message(self, message: FromChild) -> None:
        """From the resolver."""
        if isinstance(message, Resolved):
            answer = self._waiting.pop(message.query, None)
            if answer is not None:
                answer(message)
