"""All relay listeners of an instance, and which TUN services their streams may lead to."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from gateway.config.model import Config
from gateway.linux.process import wipe
from gateway.linux.udp import local_text
from gateway.log import event, get_logger
from gateway.protocol.packet import Endpoint
from gateway.supervisor.authers import Authers
from gateway.supervisor.bridges import Certificate
from gateway.supervisor.children import Children
from gateway.supervisor.hub import Hub
from gateway.supervisor.loop import Loop
from gateway.supervisor.relay_users import RelayUsers
from gateway.supervisor.relays import RelayService, open_relay, own_services
from gateway.supervisor.remotes import Remote
from gateway.supervisor.resolving import Resolving
from gateway.supervisor.service import TunService

_log = get_logger("relay")


class Relayed:
    """The listeners. `open` as root, then `start`."""

    def __init__(self, config: Config, services: Sequence[TunService]) -> None:
        self.relays: list[RelayService] = []
        self._config = config
        self._services = services

    def open(
        self,
        certificate: Certificate,
        authers: Authers,
        key: bytes,
        cpus: tuple[int, ...],
        stack: ExitStack,
    ) -> None:
        """Open every listener; `stack` gives them back. Raises HostError, ConfigError."""
        self._certificate = certificate
        near = [
            (service.config.host, int(service.opened.sockets[0].getsockname()[1]))
            for service in self._services
            if service.lans is not None and service.config.netns_out is None
        ]
        for spec in self._config.relays:
            opened = open_relay(spec, certificate)
            stack.callback(opened.close)
            users = RelayUsers(spec.users, key, authers.of(spec.authers))
            self.relays.append(
                RelayService(spec, opened, users, own_services(near), cpus, self._leave)
            )

    def start(self, loop: Loop, resolving: Resolving, children: Children) -> None:
        """Fork the bridges, and say where they listen."""
        for service in self._services:
            if service.hub is not None and self.relays:
                service.hub.remotes.find = self.remote_of
        for relay in self.relays:
            relay.start(loop, resolving)
            relay.fork(children)
            spec = relay.spec
            event(
                _log, logging.INFO, "relay-listening", service=spec.name, carrier=spec.carrier,
                listen=local_text(relay.opened.listener), auth=relay.users.auth,
                pin=self.pin_of(relay) or None,
            )  # fmt: skip

    def pin_of(self, relay: RelayService) -> str:
        """What clients can pin of the instance's own certificate, "" where another is shown."""
        tls = relay.spec.tls
        return self._certificate.pin if tls is not None and tls.cert_file is None else ""

    def remote_of(self, endpoint: Endpoint) -> Remote | None:
        """Who is behind this end of a stream; None where it is none."""
        for relay in self.relays:
            guest = relay.guests.get((endpoint.address, endpoint.port))
            if guest is not None:
                return Remote(guest.remote, guest.carrier)
        return None

    def forget(self) -> None:
        """Wipe secrets; called in children."""
        for relay in self.relays:
            relay.forget()

    def _leave(self, port: int, endpoint: Endpoint, before: float) -> None:
        for hub in self._hubs(port):
            hub.leave(endpoint, before)

    def _hubs(self, port: int) -> Iterator[Hub]:
        for service in self._services:
            bound = service.opened.sockets[0].getsockname()[1]
            if service.hub is not None and bound == port:
                yield service.hub


def forget_relayed(config: Config) -> None:
    """Wipe the passwords of relays and chains that the configuration holds."""
    for relay in config.relays:
        for user in relay.users or ():
            wipe(user.password)
    for service in config.services:
        for hop in service.chain.hops if service.chain is not None else ():
            for node in hop.nodes:
                if node.user is not None:
                    wipe(node.user.password)
