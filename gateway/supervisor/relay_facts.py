"""What a client must be told of the relay listeners that lead to a TUN service. No secrets."""

from dataclasses import fields

from gateway.config.chain_model import RelaySpec
from gateway.protocol.kcp_options import KcpOptions
from gateway.protocol.relay_access import Own, near_address
from gateway.protocol.status import RelayFacts
from gateway.supervisor.relayed import Relayed
from gateway.supervisor.relays import RelayService
from gateway.supervisor.service import TunService

SAME = {
    "ws.path": "path",
    "grpc.path": "path",
    "mux.version": "mux.version",
    "quic.cipher_key": "cipherKey",
    "kcp.key": "kcp.key",
    "kcp.crypt": "kcp.crypt",
    "kcp.nocomp": "kcp.nocomp",
    "kcp.smuxver": "kcp.smuxver",
}
"""Options of carriers that must be the same at both ends, and their names in a URL."""

SECRET = frozenset({"quic.cipher_key", "kcp.key"})

_KCP = {f"kcp.{each.name}": each.default for each in fields(KcpOptions)}


def relay_facts(relayed: Relayed, service: TunService, port: int) -> tuple[RelayFacts, ...]:
    """Of the listeners that lead to this service, which is bound to `port`."""
    config = service.config
    if config.netns_out is not None:
        return ()
    own = Own(config.host, port, near_address(config.host))
    return tuple(
        _facts(relay, relayed.pin_of(relay)) for relay in relayed.relays if relay.leads_to(own)
    )


def _facts(relay: RelayService, pin: str) -> RelayFacts:
    spec = relay.spec
    tls = spec.tls
    names = tls.server_names if tls is not None and tls.reject_unknown_sni else ()
    return RelayFacts(
        name=spec.name,
        carrier=spec.carrier,
        listen=spec.host,
        port=int(relay.opened.listener.getsockname()[1]),
        auth=relay.users.auth,
        tls=tls is not None,
        pin=pin,
        wants_certificate=tls is not None and tls.ca_file is not None,
        server_name=names[0] if names else "",
        options=_options(spec),
    )


def _options(spec: RelaySpec) -> dict[str, str]:
    found = {
        SAME[name]: "" if name in SECRET else _text(value)
        for name, value in spec.options.items()
        if name in SAME and value != _KCP.get(name)
    }
    if spec.carrier == "grpc" and spec.tls is None:
        found["insecure"] = "true"
    return found


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
