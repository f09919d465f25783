"""Whether the tunnel's packets fit the outer path in one piece; a warning where not.

Measured when the uplink comes up, and every ten minutes after that. Nothing waits for it.
A server has many paths: there the devices of its default routes are looked at, at start.
"""

import errno
import logging
from collections.abc import Callable, Sequence

from gateway.config.model import Service
from gateway.linux.icmp import Echoed, Echoes
from gateway.linux.outward import Link
from gateway.log import RateLimiter, event, get_logger
from gateway.protocol.packet import Endpoint, unpack_address
from gateway.protocol.path_mtu import OVERHEAD, Measurement, PathMtu
from gateway.supervisor.loop import Loop, Timer

REPEAT = 600.0
"""Seconds between two measurements of one path."""
LOG_INTERVAL = 60.0

_log = get_logger("path-mtu")


class PathMtuDriver:
    """One client's. `sockets`: at most one of each IP version."""

    def __init__(self, service: Service, sockets: Sequence[Echoes], loop: Loop) -> None:
        self._service = service
        self._sockets = {echoes.version: echoes for echoes in sockets}
        self._loop = loop
        self._endpoint: Endpoint | None = None
        self._measurement: Measurement | None = None
        self._sequence = 0
        self._result: PathMtu | None = None
        self._version = 4
        self._again: Timer | None = None
        self._timer: Timer | None = None
        self._limiter = RateLimiter(LOG_INTERVAL)
        for echoes in sockets:
            loop.watch(echoes.fileno(), self._reader(echoes))

    @property
    def path(self) -> int | None:
        """The widest packet known to fit; None: not known."""
        return self._result.path if self._result is not None else None

    @property
    def fits(self) -> bool | None:
        """Whether the tunnel's packets do; None: not known."""
        return self._result.fits if self._result is not None else None

    @property
    def advice(self) -> int | None:
        """The `mtu` that would fit, where the present one does not."""
        path = self.path
        return path - OVERHEAD[self._version] if path is not None and not self.fits else None

    def measure(self, endpoint: Endpoint) -> None:
        """The uplink came up at this endpoint."""
        if endpoint != self._endpoint:
            self._result = None
        self._endpoint = endpoint
        self._begin()

    def _begin(self) -> None:
        self._cancel()
        self._again = self._loop.call_in(REPEAT, self._begin)
        if self._endpoint is None:
            return
        version = unpack_address(self._endpoint.address).version
        if version not in self._sockets:
            return
        self._version = version
        wanted = self._service.mtu + OVERHEAD[version]
        now = self._loop.boot
        self._measurement = Measurement(wanted, version, now, self._sequence)
        self._act(self._measurement)

    def _cancel(self) -> None:
        for timer in (self._again, self._timer):
            if timer is not None:
                timer.cancel()
        self._again = self._timer = None

    def _reader(self, echoes: Echoes) -> Callable[[int], None]:
        return lambda _: self._on_answers(echoes)

    def _on_answers(self, echoes: Echoes) -> None:
        found = echoes.receive()
        measurement, now = self._measurement, self._loop.boot
        if measurement is None or echoes.version != self._version:
            return
        for answer in found:
            if isinstance(answer, Echoed):
                measurement.answered(now, answer.sequence)
            else:
                measurement.too_big(now, answer.sequence, answer.mtu)
        self._act(measurement)

    def _advance(self) -> None:
        self._timer = None
        if self._measurement is not None:
            self._measurement.advance(self._loop.boot)
            self._act(self._measurement)

    def _act(self, measurement: Measurement) -> None:
        while probes := measurement.probes():
            for probe in probes:
                self._sequence = probe.sequence
                self._send(measurement, probe.size, probe.sequence)
        if measurement.result is not None:
            self._measurement = None
            self._finish(measurement.result)
            return
        if self._timer is not None:
            self._timer.cancel()
        due = measurement.due()
        if due is not None:
            self._timer = self._loop.call_in(max(0.0, due - self._loop.boot), self._advance)

    def _send(self, measurement: Measurement, size: int, sequence: int) -> None:
        if self._endpoint is None:
            return
        address, scope = unpack_address(self._endpoint.address), self._endpoint.scope
        try:
            self._sockets[self._version].send(address, scope, size, sequence)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                measurement.too_big(self._loop.boot, sequence, 0)
            # Whatever else: the request is lost, as any may be.

    def _finish(self, result: PathMtu) -> None:
        self._result = result
        if result.fits is False and self._limiter.allow(result, self._loop.now) is not None:
            event(
                _log, logging.WARNING, "mtu-too-big", service=self._service.name,
                mtu=self._service.mtu, path_mtu=result.path, endpoint=self._endpoint,
                text=f"packets of {self._service.mtu} bytes leave as {result.wanted} and are"
                f" fragmented on the way; set mtu={self.advice} on all ends",
            )  # fmt: skip


def warn_narrow(service: Service, links: Sequence[Link]) -> None:
    """A server's own links that its packets do not fit. `links`: of its default routes."""
    for link in links:
        room = link.mtu - OVERHEAD[link.version]
        if room < service.mtu:
            event(
                _log, logging.WARNING, "mtu-too-big", service=service.name,
                mtu=service.mtu, device=link.name, device_mtu=link.mtu,
                text=f"packets of {service.mtu} bytes do not fit {link.name} with their outer"
                f" headers over IPv{link.version}; set mtu={room} on all ends",
            )  # fmt: skip
