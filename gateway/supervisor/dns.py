"""`dns=`: the name servers of one service's device, as systemd-resolved has them.

Set by the steward when the device is up, again when it was made again, tried again while
it fails; given back before the device goes. A gateway without name servers still is one:
what fails is a problem in the status and ends nothing.
"""

import logging
from collections.abc import Callable
from typing import Literal

from gateway.config.model import Service
from gateway.errors import HostError
from gateway.linux import resolved, sysctl
from gateway.linux.command import Outcome
from gateway.linux.resolved import DnsRecord
from gateway.log import event, get_logger
from gateway.supervisor.device import Device
from gateway.supervisor.loop import Loop
from gateway.supervisor.steward import DEVICE_VARIABLE, Steward, Task

RETRY_INTERVAL = 30.0
_DEVICE = f'"${DEVICE_VARIABLE}"'

_log = get_logger("dns")


class LinkDns:
    """Of one service. Does nothing where `dns` is not used."""

    def __init__(self, service: Service) -> None:
        """As root: a device that exists may have servers of its own already."""
        self.problem = ""
        self._service = service
        self._is_set = False
        self._asked = False
        self._steward: Steward | None = None
        wanted = bool(service.dns) and service.netns is None
        known = wanted and service.device is not None
        self._former = resolved.servers_of(service.device or "") if known else ()
        self._set, self._revert = (
            Task(service.name, label, text, resolved.SECONDS)
            for label, text in (
                ("dns", resolved.set_text(_DEVICE, service.dns)),
                ("dns-revert", resolved.revert_text(_DEVICE, self._former)),
            )
        )
        self.tasks = (self._set, self._revert) if wanted else ()
        if service.dns and not wanted:
            self._fail("systemd-resolved does not look into other network namespaces (netns)")

    @property
    def state(self) -> Literal["off", "on", "failed"]:
        """For the status."""
        if not self._service.dns:
            return "off"
        return "failed" if self.problem else "on"

    def start(
        self,
        loop: Loop,
        steward: Steward | None,
        device: Device,
        record: Callable[[DnsRecord | None], None],
    ) -> None:
        """Set them. `record` writes down what a crash would leave, before it is done."""
        if steward is None or not self.tasks:
            return
        self._steward = steward
        self._device = device
        self._record = record
        self._write_down()
        self._take(steward.run(self._set, device.name, give_up=lambda: loop.stopping))
        loop.call_every(RETRY_INTERVAL, self._retry)

    def mend(self) -> None:
        """The device was made again, without them."""
        if self._steward is not None:
            self._set_again(self._steward)

    def close(self) -> None:
        """Give them back. Safe to repeat."""
        if self._steward is None:
            return
        steward, self._steward = self._steward, None
        if self._is_set or self._asked:
            outcome = steward.run(self._revert, self._device.name)
            if outcome.problem:
                text = resolved.explain(outcome.code, outcome.problem)
                self._tell("not-put-back", f"the name servers of {self._device.name}: {text}")
                if self._device.persistent:
                    return  # the next start tries again
        self._record(None)

    def _retry(self) -> None:
        if self._steward is not None and self.problem:
            self._set_again(self._steward)

    def _set_again(self, steward: Steward) -> None:
        try:
            self._write_down()
        except HostError as error:
            self._fail(str(error))
        else:
            self._ask(steward)

    def _ask(self, steward: Steward) -> None:
        if not self._asked:
            self._asked = True
            steward.ask(self._set, self._device.name, self._take)

    def _take(self, outcome: Outcome) -> None:
        self._asked = False
        if outcome.problem:
            self._fail(resolved.explain(outcome.code, outcome.problem))
            return
        self.problem = ""
        self._is_set = True

    def _write_down(self) -> None:
        link = self._device.link()
        if link is not None:
            self._record(DnsRecord(sysctl.place(), link.index, self._former))

    def _fail(self, reason: str) -> None:
        problem = f"dns is not in effect: {reason}"
        if problem != self.problem:
            self.problem = problem
            self._tell("host-problem", problem)

    def _tell(self, name: str, text: str) -> None:
        event(_log, logging.WARNING, name, service=self._service.name, text=text)
