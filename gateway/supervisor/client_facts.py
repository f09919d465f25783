"""What a client must be told to join: for `gateway-ctl client`. Never a passphrase."""

from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import nsmallest
from ipaddress import ip_address
from itertools import chain
from typing import Literal

from gateway.config.nets import within
from gateway.errors import ConfigError
from gateway.protocol.approval import WIDEST
from gateway.protocol.claims import check_claim
from gateway.protocol.forwarding import REFUSAL_TEXT, Refusal
from gateway.protocol.packet import (
    ANY,
    Address,
    Network,
    is_v4,
    pack_address,
    pack_network,
    unpack_address,
)
from gateway.protocol.routes import network_of
from gateway.protocol.status import ClientFacts
from gateway.supervisor.control import NoServer
from gateway.supervisor.hub import Hub
from gateway.supervisor.relay_facts import relay_facts
from gateway.supervisor.relayed import Relayed
from gateway.supervisor.service import TunService

MOST_ROUTES = 64
MOST_REACHED = 8


def client_facts(
    services: Sequence[TunService], texts: Sequence[str], relayed: Relayed
) -> ClientFacts:
    """For the client with these addresses. Raises ConfigError or NoServer with a sentence."""
    addresses = [_address(text) for text in texts]
    if not addresses:
        raise ConfigError("no address was named")
    servers = [(each, each.hub) for each in services if each.hub is not None]
    if not servers:
        raise NoServer("this instance is no server: ask the one that clients connect to")
    for service, hub in servers:
        if _covers(service, addresses):
            return _facts(service, hub, addresses, relayed)
    nets = ", ".join(str(net.network) for each, _ in servers for net in each.config.nets)
    names = ", ".join(map(str, addresses))
    raise ConfigError(f"{names}: not in the network of this server, {nets}")


def _facts(
    service: TunService, hub: Hub, asked: Sequence[Address], relayed: Relayed
) -> ClientFacts:
    """`asked`, and what else the peer has who is behind a single one of them."""
    config = service.config
    own = list(dict.fromkeys(map(pack_address, asked)))
    peer = hub.peers.at_address(own[0])
    if peer is not None and len(own) == 1:
        own += [address for address in peer.addresses if address not in own]
    unfit = check_claim(own, config.nets)
    if unfit is not None:
        raise ConfigError(_why(*unfit))
    known: Literal["credential", "peer", "network"] = "network" if peer is None else "peer"
    if all(map(service.admission.knows, own)):
        known = "credential"
    routes, left_out = _routes(service, hub, own)
    port = _port(service)
    return ClientFacts(
        service=config.name,
        interfaces=tuple(_interface(service, address) for address in own),
        known=known,
        auth=service.admission.auth,
        listen=config.host,
        port=port,
        reached=_reached(hub, relayed),
        routes=tuple(map(str, routes)),
        left_out=left_out,
        mtu=config.mtu,
        relays=relay_facts(relayed, service, port),
    )


def _routes(service: TunService, hub: Hub, own: Sequence[bytes]) -> tuple[list[Network], int]:
    """The networks behind others, of the families that the client has; no default route.

    Whether those are there now or not: what a router, `routes` and credentials say counts
    too. The first of them, and how many more there are.
    """
    mine: set[tuple[bytes, int]] = set()
    others: set[tuple[bytes, int]] = set()
    for network, gateway in _told(service):
        (mine if gateway in own else others).add(network)
    for peer in hub.peers:
        side = mine if any(address in own for address in peer.addresses) else others
        side.update(service.networks.led(peer.slot))
    families = set(map(is_v4, own))
    fit = [(not is_v4(at), at, length) for at, length in others - mine if is_v4(at) in families]
    fit = [each for each in fit if each[2] > (0 if each[0] else 96)]
    first = nsmallest(MOST_ROUTES, fit)
    return [network_of(at, length) for _, at, length in first], len(fit) - len(first)


def _told(service: TunService) -> Iterator[tuple[tuple[bytes, int], bytes]]:
    """What the configuration and a router say of networks, each with its peer's address."""
    config = service.config
    yield from service.networks.told()
    for route in config.routes:
        if route.gateway is not None:
            yield pack_network(route.network), pack_address(route.gateway)
    if config.accept == "off" or config.p2p:
        return
    for credential in chain(config.credentials or (), *(each.inline for each in config.authers)):
        for network in credential.networks:
            wide = network.prefixlen < WIDEST[network.version]  # it stands for what lies in it
            tunnel = any(within(network, net.network) for net in config.nets)
            if not (wide or tunnel):
                yield pack_network(network), pack_address(ip_address(credential.username))


def _reached(hub: Hub, relayed: Relayed) -> tuple[str, ...]:
    """Loopback is no place to come to, and neither is where a bridge sends from."""
    counts = Counter(
        peer.local
        for peer in hub.peers
        if peer.local != ANY and relayed.remote_of(peer.endpoint) is None
    )
    places = [unpack_address(local) for local, _ in counts.most_common()]
    return tuple(str(each) for each in places if not each.is_loopback)[:MOST_REACHED]


def _interface(service: TunService, address: bytes) -> str:
    ip = unpack_address(address)
    net = next(net for net in service.config.nets if ip in net.network)
    return f"{ip}/{net.network.prefixlen}"


def _port(service: TunService) -> int:
    """The one that is bound: the configuration may have said 0."""
    if service.opened.acks is None:
        return service.config.port
    return int(service.opened.acks.getsockname()[1])


def _covers(service: TunService, addresses: Sequence[Address]) -> bool:
    nets = [net.network for net in service.config.nets]
    return all(any(address in net for net in nets) for address in addresses)


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no IP address; a tunnel address is asked for") from None


def _why(refusal: Refusal, address: Address) -> str:
    if refusal is Refusal.OWN_ADDRESS:
        return f"{address} is the server's own address; a client needs another one"
    return f"{address}: {REFUSAL_TEXT[refusal]}"
