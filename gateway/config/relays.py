"""Relay listeners: a service whose handler is `relay`, over a carrier's listener."""

from gateway.config import addresses, shape
from gateway.config.auth import Auther, relay_authers
from gateway.config.carrier_options import TLS_CARRIERS, options_of
from gateway.config.chain_model import CLIENTS, READ_TIMEOUT, RelaySpec
from gateway.config.chains import carrier_of, is_insecure, user_of
from gateway.config.ends import read_listen, read_selector, read_targets
from gateway.config.model import Target
from gateway.config.section import Values
from gateway.config.tls import refuse_tls, server_tls_of
from gateway.config.tree import Entry, Node, Report, Scalar, items_of, mapping_of, plain
from gateway.config.values import BadValueError, duration, printable, ranged, shown, text

HANDLER = shape.of("type auth auther authers metadata",
                   foreign="chain chainGroup retries limiter observer tls")  # fmt: skip
LISTENER = shape.of("type tls metadata", foreign="chain chainGroup auther authers auth")
METADATA = shape.of("readTimeout allow bridges clients",
                    useless="nodelay udp.bufferSize udpBufferSize hash",
                    foreign="bind sniffing entryPoint ingress")  # fmt: skip
SERVICE_METADATA = shape.of("user", useless="enableStats labels",
                            foreign="interface so_mark netns netns.out preUp postUp preDown "
                            "postDown proxyProtocol dialTimeout")  # fmt: skip
MOST_BRIDGES = 64
MOST_CLIENTS = 1_000_000
SHORTEST = 0.1
LONGEST = 86400.0


def is_relay(node: Node) -> bool:
    """Whether a service's handler is a relay."""
    if not isinstance(node.value, dict) or "handler" not in node.value:
        return False
    handler = node.value["handler"].node.value
    if not isinstance(handler, dict) or "type" not in handler:
        return False
    kind = handler["type"].node.value
    return not isinstance(kind, dict | tuple) and text(kind).lower() == "relay"


def build_relay(
    node: Node, authers: dict[str, Auther], report: Report
) -> tuple[RelaySpec, Entry | None] | None:
    """The relay listener a service mapping describes, and what `user` its metadata asks for."""
    entries = mapping_of(node, "services", report)
    shape.check_keys(entries, shape.SERVICE, "", report)
    handler = mapping_of(entries["handler"].node, "handler", report)
    listener = (
        mapping_of(entries["listener"].node, "listener", report) if "listener" in entries else {}
    )
    shape.check_keys(handler, HANDLER, "handler", report)
    shape.check_keys(listener, LISTENER, "listener", report)
    kind = listener["type"].node if "type" in listener else Node("tcp", node.place)
    word = "" if isinstance(kind.value, dict | tuple) else text(kind.value).lower()
    carrier = carrier_of(word or "tcp", kind.place, "listener.type", report)
    if carrier is None:
        return None
    host, port = read_listen(entries, node, report)
    metadata = _metadata(handler, "handler", report)
    shape.check_keys(metadata, METADATA, "handler.metadata", report)
    own = _metadata(entries, "", report)
    shape.check_keys(own, SERVICE_METADATA, "metadata", report)
    given = _metadata(listener, "listener", report)
    tls = None
    if carrier in TLS_CARRIERS and not (carrier == "grpc" and is_insecure(given)):
        tls = server_tls_of(listener, node.place, report)
    else:
        refuse_tls(listener, "listener", carrier, report)
    values = Values(metadata, "handler.metadata", node.place, report)
    user = user_of(handler, "handler", report)
    group = relay_authers(handler, authers, report)
    users = None
    if group is not None:
        users = group.users
        if user is not None:
            report.warn(handler["auth"].place, "handler.auth: ignored, as an auther is given")
    elif user is not None:
        if not user.password:
            report.error(handler["auth"].place, "handler.auth: the password is empty")
        users = (user,)
    spec = RelaySpec(
        name=Values(entries, "services", node.place, report).get("name", printable, ""),
        carrier=carrier,
        host=host,
        port=port,
        tls=tls,
        options=options_of(carrier, "listen", given.values(), report),
        users=users,
        authers=group.specs if group is not None else (),
        targets=read_targets(entries, report),
        selector=read_selector(_forwarder(entries, report), None, report),
        allow=_allowed(metadata, report),
        bridges=values.get("bridges", ranged(1, MOST_BRIDGES), None),
        read_timeout=values.get("readtimeout", _patience, READ_TIMEOUT),
        clients=values.get("clients", ranged(2, MOST_CLIENTS), CLIENTS),
        place=node.place,
        said={each.key: plain(each.node) for each in given.values()},
    )
    return spec, own.get("user")


def _patience(value: Scalar) -> float:
    """0 is the default, as in GOST."""
    found = duration(value)
    if found and not SHORTEST <= found <= LONGEST:
        raise BadValueError(f"{shown(value)} is out of range: write 100ms to 24h")
    return found or READ_TIMEOUT


def _forwarder(entries: dict[str, Entry], report: Report) -> dict[str, Entry]:
    if "forwarder" not in entries:
        return {}
    return shape.as_meant(
        mapping_of(entries["forwarder"].node, "forwarder", report), shape.FORWARDER
    )


def _metadata(end: dict[str, Entry], name: str, report: Report) -> dict[str, Entry]:
    where = f"{name}.metadata" if name else "metadata"
    return mapping_of(end["metadata"].node, where, report) if "metadata" in end else {}


def _allowed(metadata: dict[str, Entry], report: Report) -> tuple[Target, ...]:
    """Where streams may lead beside our own services: HOST:PORT, a list or with commas."""
    if "allow" not in metadata or metadata["allow"].node.is_empty:
        return ()
    node = metadata["allow"].node
    items = items_of(node, "allow", report) if isinstance(node.value, tuple) else (node,)
    found: dict[Target, None] = {}
    for item in items:
        if isinstance(item.value, dict | tuple):
            report.error(item.place, "allow: expected a list of HOST:PORT")
            continue
        for word in text(item.value).split(","):
            try:
                host, port = addresses.endpoint(word.strip())
            except BadValueError as error:
                report.error(item.place, f"allow: {error}")
                continue
            if not host or not port:
                report.error(item.place, f"allow: {shown(word)} is not HOST:PORT")
                continue
            found[Target(host, port)] = None
    return tuple(found)
