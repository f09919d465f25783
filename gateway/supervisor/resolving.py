"""The supervisor's side of the resolver: numbered queries out, answers to who asked.

A query dies with the resolver that had it; its asker asks again by itself. Questions to
plugins are few and bounded: each stands for a heartbeat that waits, and one that is
asked again while it is open is the same question.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Literal

from gateway.linux.channel import ChannelGarbledError
from gateway.protocol.messages import (
    AskAuth,
    AskRoute,
    AuthVerdict,
    FromChild,
    Refresh,
    Resolve,
    Resolved,
    RouteVerdict,
    ToChild,
)
from gateway.supervisor.children import Member

QUERIES_KEPT = 256
QUESTIONS_KEPT = 256

Verdict = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class _Question:
    key: Hashable
    kind: type[AuthVerdict | RouteVerdict]
    deadline: float
    answer: Callable[..., None]


class Resolving:
    """Open queries. `member` is the resolver, once there is one."""

    def __init__(self) -> None:
        self.member: Member | None = None
        self._next = 0
        self._waiting: dict[int, Callable[[Resolved], None]] = {}
        self._questions: dict[int, _Question] = {}
        self._keys: dict[Hashable, int] = {}

    def ask(self, host: str, port: int, answer: Callable[[Resolved], None]) -> None:
        """Ask; `answer` is called in a later turn, or never."""
        self._next += 1
        self._waiting[self._next] = answer
        while len(self._waiting) > QUERIES_KEPT:
            del self._waiting[next(iter(self._waiting))]
        self._send(Resolve(self._next, host, port))

    def ask_auth(
        self,
        key: Hashable,
        question: Callable[[int], AskAuth],
        patience: float,
        now: float,
        answer: Callable[[Verdict], None],
    ) -> bool:
        """Ask, unless a question of this key is open; False: too many are.

        `answer` is called in a later turn, or never: after `patience` seconds the question
        is forgotten and may be asked again.
        """
        return self._ask(
            key, question, AuthVerdict, patience, now, lambda said: answer(said.verdict)
        )

    def _ask(
        self,
        key: Hashable,
        question: Callable[[int], ToChild],
        kind: type[AuthVerdict | RouteVerdict],
        patience: float,
        now: float,
        answer: Callable[..., None],
    ) -> bool:
        self._forget_old(now)
        if key in self._keys:
            return True
        if len(self._questions) >= QUESTIONS_KEPT:
            return False
        self._next += 1
        self._questions[self._next] = _Question(key, kind, now + patience, answer)
        self._keys[key] = self._next
        self._send(question(self._next))
        return True

    def refresh(self) -> None:
        """Let every source be loaded again now."""
        self._send(Refresh())

    def ask_route(
        self,
        router: str,
        destination: bytes,
        patience: float,
        now: float,
        answer: Callable[[RouteVerdict], None],
    ) -> bool:
        """The same for a router's plugin, about an a16."""
        key = (router, destination)
        return self._ask(
            key,
            lambda query: AskRoute(query, router, destination),
            RouteVerdict,
            patience,
            now,
            answer,
        )

    def on_message(self, message: FromChild) -> None:
        """From the resolver. ChannelGarbledError for the answer to another kind of question."""
        if isinstance(message, Resolved):
            answer = self._waiting.pop(message.query, None)
            if answer is not None:
                answer(message)
        elif isinstance(message, AuthVerdict | RouteVerdict):
            question = self._questions.pop(message.query, None)
            if question is not None:
                del self._keys[question.key]
                if not isinstance(message, question.kind):
                    raise ChannelGarbledError
                question.answer(message)

    def _forget_old(self, now: float) -> None:
        for number in [n for n, question in self._questions.items() if question.deadline <= now]:
            del self._keys[self._questions.pop(number).key]

    def _send(self, message: ToChild) -> None:
        if self.member is not None and self.member.life is not None:
            self.member.life.feed.put(message)
