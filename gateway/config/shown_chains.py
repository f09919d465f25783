"""Chains and relay listeners as they are in effect, without secrets."""

import re
from collections.abc import Sequence

from gateway.config.chain_model import (
    CLIENTS,
    READ_TIMEOUT,
    ChainSpec,
    ClientTlsSpec,
    HopSpec,
    NodeSpec,
    RelaySpec,
    ServerTlsSpec,
)
from gateway.config.model import Selector, Service, Target
from gateway.config.noted import DEFAULT, Document, Noted
from gateway.config.shown_sources import HIDDEN, endpoint, seconds
from gateway.config.tree import Plain

_SECRETS = frozenset({"kcp.key", "key", "cipherkey", "quic.cipherkey"})
_SECRET_HEADER = re.compile("auth|cookie|token|key|secret", re.IGNORECASE)


def chains(services: Sequence[Service]) -> list[Document]:
    """The `chains` of the document."""
    found = {service.chain.name: service.chain for service in services if service.chain is not None}
    return [_chain(chain) for chain in found.values()]


def relay(spec: RelaySpec) -> Document:
    """One relay listener among the `services`."""
    place = spec.place
    handler: dict[str, Document] = {"type": Noted("relay", place)}
    if spec.users is not None:
        names = ", ".join(user.username.decode("utf-8", "replace") for user in spec.users)
        handler["auth"] = Noted(f"users: {names or 'none'}", place, only_said=True)
    if spec.authers:
        handler["authers"] = [Noted(auther.name, place) for auther in spec.authers]
    handler["metadata"] = _handler(spec)
    listener: dict[str, Document] = {"type": Noted(spec.carrier, place)}
    if spec.tls is not None:
        listener["tls"] = _server_tls(spec.tls, place)
    if spec.said:
        listener["metadata"] = _said(spec.said, place)
    document: dict[str, Document] = {
        "name": Noted(spec.name, place),
        "addr": Noted(endpoint(spec.host, spec.port), place),
        "handler": handler,
        "listener": listener,
    }
    if spec.targets:
        document["forwarder"] = {
            "nodes": [{"addr": Noted(_address(target), place)} for target in spec.targets],
            "selector": _selector(spec.selector, place),
        }
    return document


def _handler(spec: RelaySpec) -> Document:
    note = DEFAULT if spec.read_timeout == READ_TIMEOUT else spec.place
    document: dict[str, Document] = {"readTimeout": Noted(seconds(spec.read_timeout), note)}
    if spec.allow:
        document["allow"] = Noted(",".join(map(_address, spec.allow)), spec.place)
    if spec.bridges is not None:
        document["bridges"] = Noted(spec.bridges, spec.place)
    if spec.clients != CLIENTS:
        document["clients"] = Noted(spec.clients, spec.place)
    return document


def _chain(chain: ChainSpec) -> Document:
    return {"name": Noted(chain.name, chain.place), "hops": [_hop(hop) for hop in chain.hops]}


def _hop(hop: HopSpec) -> Document:
    document: dict[str, Document] = {
        "name": Noted(hop.name, hop.nodes[0].place),
        "nodes": [_node(node) for node in hop.nodes],
    }
    if len(hop.nodes) > 1:
        document["selector"] = _selector(hop.selector, hop.nodes[0].place)
    return document


def _node(node: NodeSpec) -> Document:
    place = node.place
    connector: dict[str, Document] = {"type": Noted("relay", place)}
    if node.user is not None:
        name = node.user.username.decode("utf-8", "replace")
        connector["auth"] = {
            "username": Noted(name, place),
            "password": Noted(HIDDEN, place),
        }
    dialer: dict[str, Document] = {"type": Noted(node.carrier, place)}
    if node.tls is not None:
        dialer["tls"] = _client_tls(node.tls, place)
    if node.said:
        dialer["metadata"] = _said(node.said, place)
    document: dict[str, Document] = {
        "name": Noted(node.name, place),
        "addr": Noted(endpoint(node.host, node.port), place),
        "connector": connector,
        "dialer": dialer,
    }
    if node.interface is not None:
        document["interface"] = Noted(node.interface, place)
    if node.mark:
        document["sockopts"] = {"mark": Noted(node.mark, place)}
    if node.backup or node.weight != 1:
        metadata: Plain = {"backup": node.backup, "weight": node.weight}
        document["metadata"] = Noted(metadata, place)
    return document


def _client_tls(tls: ClientTlsSpec, place: str) -> Document:
    document: dict[str, Document] = {
        "secure": Noted(tls.secure, place if tls.secure else f"{DEFAULT}{_unverified(tls)}"),
        "serverName": Noted(tls.server_name, place),
    }
    document |= _files(tls, place)
    if tls.pin:
        document["pin"] = Noted(tls.pin, place)
    return document


def _unverified(tls: ClientTlsSpec) -> str:
    return "" if tls.verifies else ": NOTHING IS VERIFIED"


def _server_tls(tls: ServerTlsSpec, place: str) -> Document:
    document: dict[str, Document] = {}
    if tls.cert_file is None:
        own = Noted("one of its own, made if need be and kept", DEFAULT, only_said=True)
        document["certFile"] = own
    document |= _files(tls, place)
    if tls.reject_unknown_sni:
        document["rejectUnknownSNI"] = Noted(value=True, note=place)
    if tls.server_names:
        document["serverNames"] = Noted(",".join(tls.server_names), place)
    return document


def _files(tls: ClientTlsSpec | ServerTlsSpec, place: str) -> dict[str, Document]:
    given = {"certFile": tls.cert_file, "keyFile": tls.key_file, "caFile": tls.ca_file}
    found: dict[str, Document] = {
        name: Noted(path, place) for name, path in given.items() if path is not None
    }
    given_options: dict[str, Plain] = {
        "alpn": ",".join(tls.alpn),
        "cipherSuites": ",".join(tls.cipher_suites),
        "minVersion": tls.min_version,
        "maxVersion": tls.max_version,
    }
    options: dict[str, Plain] = {name: value for name, value in given_options.items() if value}
    if options:
        found["options"] = Noted(options, place)
    return found


def _said(said: dict[str, Plain], place: str) -> Document:
    return {name: Noted(_masked(name, value), place) for name, value in said.items()}


def _masked(name: str, value: Plain) -> Plain:
    """Without secrets: also those in a map of kcp's, and in headers for a server in front."""
    if isinstance(value, dict):
        secret = _SECRET_HEADER.search if "header" in name.lower() else _is_secret
        return {key: HIDDEN if secret(key) else each for key, each in value.items()}
    return HIDDEN if _is_secret(name) else value


def _is_secret(name: str) -> bool:
    return name.lower() in _SECRETS


def _selector(selector: Selector, place: str) -> Document:
    given: dict[str, Plain] = {
        "strategy": selector.strategy,
        "maxFails": selector.max_fails,
        "failTimeout": seconds(selector.fail_timeout),
    }
    return {name: Noted(value, place) for name, value in given.items()}


def _address(target: Target) -> str:
    return endpoint(target.host, target.port)
