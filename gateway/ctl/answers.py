"""What one command found out: from one instance by name, or from all of a host.

By name, JSON is the instance's own status object. Without a name it is always

    {"schema": 1, "instances": [status, ...], "failures": [failure, ...]}

however many run, so that a script need not look at the number first.
"""

from typing import NamedTuple

import msgspec

from gateway.ctl.ask import NotRunning, Report, ask_status, list_instances
from gateway.ctl.picking import Pick
from gateway.errors import ConfigError, GatewayError
from gateway.protocol.status import STATUS_SCHEMA

DEGRADED = 1


class Failure(msgspec.Struct, frozen=True):
    """An instance that gave no status, why, and the exit status that means."""

    instance: str
    error: str
    exit_status: int


class _All(msgspec.Struct, frozen=True):
    schema: int
    instances: list[msgspec.Raw]
    failures: list[Failure]


class Answers(NamedTuple):
    """`name`: the instance that was asked for, or None for all."""

    name: str | None
    reports: list[Report]
    failures: list[Failure]

    @property
    def exit_status(self) -> int:
        """The worst of all: 0 healthy, 1 degraded, 3 not running, 4 no permission."""
        found = [DEGRADED for report in self.reports if report.status.health != "healthy"]
        return max(found + [failure.exit_status for failure in self.failures], default=0)

    def json(self, pick: Pick, *, one_line: bool = False) -> bytes:
        """One JSON document of the picked peers and a newline.

        Empty where the instance named gave no status.
        """
        if self.name is None:
            raws = [msgspec.Raw(pick.raw(report)) for report in self.reports]
            document = msgspec.json.encode(_All(STATUS_SCHEMA, raws, self.failures))
        elif self.reports:
            document = pick.raw(self.reports[0])
        else:
            return b""
        return msgspec.json.format(document, indent=-1 if one_line else 2) + b"\n"


def ask(directory: str, name: str | None) -> Answers:
    """Asks the instance named, or all. Raises GatewayError where nobody can be asked."""
    names = [name] if name is not None else list_instances(directory)
    if not names:
        raise NotRunning(f"no gateway is running: there is no control socket in {directory}")
    answers = Answers(name, [], [])
    for instance in names:
        try:
            answers.reports.append(ask_status(directory, instance))
        except ConfigError:
            raise
        except GatewayError as error:
            answers.failures.append(Failure(instance, str(error), error.exit_status))
    return answers
