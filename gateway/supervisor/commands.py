"""preUp, postUp, preDown, postDown: what the user runs around a service's life, as root.

    preUp ─> device, sockets ─> routes, children, DNS ─> postUp ─> ... SIGTERM ─> preDown ─>
    children end, routes go ─> device goes ─> postDown

One after the other, each bounded in time. One that fails is said, in the log and in the
status, and ends nothing, as in GOST: a rule that a crash left behind is no reason to stay
down. A supervisor that is killed runs none.
"""

import logging
from collections.abc import Callable
from typing import Literal

from gateway.config.model import Service
from gateway.log import event, get_logger
from gateway.supervisor.steward import Steward, Task

SECONDS = 30.0

Step = Literal["preUp", "postUp", "preDown", "postDown"]

_log = get_logger("commands")


class ServiceCommands:
    """Those of one service."""

    def __init__(self, service: Service, instance: str) -> None:
        self.problems: tuple[str, ...] = ()
        self._service = service
        self._device = service.device or ""
        environment = {
            "GATEWAY_INSTANCE": instance,
            "GATEWAY_SERVICE": service.name,
            "GATEWAY_NETNS": service.netns or "",
        }
        commands = service.commands
        texts: dict[Step, tuple[str, ...]] = {
            "preUp": commands.pre_up,
            "postUp": commands.post_up,
            "preDown": commands.pre_down,
            "postDown": commands.post_down,
        }
        self._tasks = {
            step: tuple(
                Task(service.name, f"{step} {number}", text, SECONDS, environment)
                for number, text in enumerate(found, 1)
            )
            for step, found in texts.items()
        }

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All of them, for the steward's list."""
        return tuple(task for found in self._tasks.values() for task in found)

    def run(
        self,
        step: Step,
        steward: Steward | None,
        device: str | None = None,
        *,
        give_up: Callable[[], bool] | None = None,
    ) -> None:
        """Run a step, turning the loop meanwhile. `device`: its present name, if it has one."""
        self._device = device or self._device
        for task in self._tasks[step]:
            if steward is None or (give_up is not None and give_up()):
                return
            outcome = steward.run(task, self._device, give_up=give_up)
            if not outcome.problem:
                event(
                    _log, logging.INFO, "command-done", service=self._service.name,
                    command=task.label,
                )  # fmt: skip
                continue
            self.problems += (f"{task.label}: the command {outcome.problem}",)
            event(
                _log, logging.WARNING, "command-failed", service=self._service.name,
                command=task.label, text=f"it {outcome.problem}",
            )  # fmt: skip
