"""Who may join: `authers`, `handler.auther`, `handler.authers`, `handler.auth`.

Credentials that stand in the configuration alone are merged into one list. An auther
with other sources stays one of its own (`AutherSpec`): of one address its sources
overrule each other, while each member of a group lets in by itself.

GOST lets everyone in where an auther's name is unknown, and takes any passphrase where
the stored password is empty. Both are errors here: what protects must not fail open.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

from gateway.config import addresses, shape
from gateway.config.chain_model import RelayUser
from gateway.config.model import PASSPHRASE_LIMIT, AutherSpec, Credential, Interface, Network
from gateway.config.nets import cannot_be_a_peer
from gateway.config.option import nearest
from gateway.config.places import Places, parse_places
from gateway.config.tree import Entry, Node, Report, items_of
from gateway.config.values import BadValueError, shown, text


@dataclass(slots=True)
class Auther:
    """A named list of credentials, each with its place, and its other sources."""

    name: str
    place: str
    places: Places
    known: dict[str, tuple[Credential, str]] = field(default_factory=dict)
    """By username."""
    nets: list[tuple[Interface, ...]] = field(default_factory=list)
    """Those of each service that asks for it."""
    nodes: tuple[Node, ...] = ()
    """Its list as it was written."""
    doubts: Report = field(default_factory=Report)
    """What is wrong with it for a TUN service, told when one asks for it, or nobody does."""
    relayed: bool = False
    """A relay asks for it."""

    @property
    def used(self) -> bool:
        """Whether anybody asks for it."""
        return bool(self.nets) or self.relayed

    @property
    def credentials(self) -> Iterable[tuple[Credential, str]]:
        """Its list."""
        return self.known.values()

    def users(self) -> list[tuple[RelayUser, str]]:
        """Its list as a relay reads it: any name, any password; each with its place."""
        return [(user, node.place) for node in self.nodes if (user := _user(node)) is not None]

    def spec(self) -> AutherSpec | None:
        """What the resolver keeps for it; None: there is nothing but its list."""
        places = self.places
        if not places.any:
            return None
        inline = () if places.plugin else tuple(found for found, _ in self.credentials)
        return AutherSpec(
            self.name,
            inline,
            None if places.plugin else places.file,
            None if places.plugin else places.redis,
            None if places.plugin else places.http,
            places.plugin,
            places.reload,
        )


@dataclass(frozen=True, slots=True)
class Admitted:
    """Whom a handler lets in: each of these credentials, and whom each of these authers does."""

    credentials: tuple[Credential, ...]
    authers: tuple[AutherSpec, ...] = ()
    places: tuple[tuple[str, str], ...] = ()
    """Usernames of `credentials`, and where each was said."""


def parse_authers(top: dict[str, Entry], report: Report) -> dict[str, Auther]:
    """The `authers` of a configuration by name."""
    found: dict[str, Auther] = {}
    if "authers" not in top:
        return found
    for item in items_of(top["authers"].node, "authers", report):
        entries = shape.entries_of(item, shape.AUTHER, "authers", report)
        name = text(_scalar(entries, "name", "authers.name", report))
        if not name:
            report.error(item.place, "authers: an auther has no name")
        elif name in found:
            first = f"first at {found[name].place}: leave one out"
            report.error(item.place, f"authers: {shown(name)} is there twice, {first}")
        auther = Auther(name, item.place, parse_places(entries, "authers", report))
        found.setdefault(name, auther)
        report.origins["authers", name] = item.place
        if "auths" in entries:
            auther.nodes = items_of(entries["auths"].node, "authers.auths", report)
            for node in auther.nodes:
                _add(auther, node, auther.doubts)
        _warn_if_empty(auther, entries, report)
    return found


def _warn_if_empty(auther: Auther, entries: dict[str, Entry], report: Report) -> None:
    keys = ("auths", "file", "redis", "http", "plugin")
    if all(key not in entries or entries[key].node.is_empty for key in keys):
        report.warn(auther.place, f"authers: {shown(auther.name)} has no auths: it lets nobody in")


def _add(auther: Auther, node: Node, report: Report) -> None:
    credential = _credential(node, "authers.auths", report)
    if credential is None:
        return
    if credential.username in auther.known:
        first = f"first at {auther.known[credential.username][1]}: leave one out"
        report.error(node.place, f"username: {credential.username} is there twice, {first}")
        return
    auther.known[credential.username] = (credential, node.place)
    report.origins[f"authers {auther.name}", "credential", credential.username] = node.place


def _credential(node: Node, where: str, report: Report) -> Credential | None:
    entries = shape.entries_of(node, shape.CREDENTIAL, where, report)
    if not entries:
        return None
    username = _username(entries, node, report)
    password = _password(entries, node, username or "", report)
    if username is None or password is None:
        return None
    return Credential(username, password, _networks(entries, report))


def _networks(entries: dict[str, Entry], report: Report) -> tuple[Network, ...]:
    """What the client may advertise. A word with commas is a list, as in options."""
    if "networks" not in entries:
        return ()
    found: dict[Network, None] = {}
    for node in items_of(entries["networks"].node, "networks", report):
        if isinstance(node.value, dict | tuple):
            report.error(node.place, "networks: expected a list of ADDRESS/LENGTH")
            continue
        for word in text(node.value).split(","):
            try:
                found[addresses.network(word.strip())] = None
            except BadValueError as error:
                report.error(node.place, f"networks: {error}")
    return tuple(found)


def _username(entries: dict[str, Entry], node: Node, report: Report) -> str | None:
    value = _scalar(entries, "username", "username", report)
    place = entries["username"].node.place if "username" in entries else node.place
    if value is None or value == "":
        report.error(place, "username: missing: write the client's address in the tunnel")
        return None
    try:
        return str(addresses.address(value))
    except BadValueError as error:
        report.error(place, f"username: {error}: write the client's address in the tunnel")
        return None


def _password(entries: dict[str, Entry], node: Node, username: str, report: Report) -> bytes | None:
    value = text(_scalar(entries, "password", "password", report))
    place = entries["password"].node.place if "password" in entries else node.place
    whose = f"the password of {username}" if username else "a password"
    if not value:
        report.error(place, f"password: {whose} is empty: nobody could use it")
        return None
    secret = value.encode()
    if b"\0" in secret:
        report.error(place, f"password: {whose} must not contain NUL characters")
        return None
    if len(secret) > PASSPHRASE_LIMIT:
        size = f"is longer than {PASSPHRASE_LIMIT} bytes"
        report.warn(place, f"password: {whose} {size}: only the first {PASSPHRASE_LIMIT} count")
    return secret[:PASSPHRASE_LIMIT]


def _scalar(
    entries: dict[str, Entry], key: str, name: str, report: Report
) -> str | int | bool | None:
    if key not in entries:
        return None
    value = entries[key].node.value
    if isinstance(value, dict | tuple):
        report.error(entries[key].node.place, f"{name}: expected one value")
        return None
    return value


def credentials_of(
    handler: dict[str, Entry],
    authers: dict[str, Auther],
    nets: tuple[Interface, ...],
    report: Report,
) -> Admitted | None:
    """Whom a handler lets in; None where it asks for nobody in particular.

    Any member of a group lets in, so the group's credentials are one list. `nets` are
    the server's, whose own addresses no credential may name; of a client there are none.
    """
    own = frozenset(str(net.ip) for net in nets)
    names = _names(handler, report)
    if names is None:
        return _single(handler, nets, report)
    if "auth" in handler and not handler["auth"].node.is_empty:
        report.warn(handler["auth"].place, "handler.auth: ignored, as an auther is given")
    merged: dict[Credential, str] = {}
    specs: dict[str, AutherSpec] = {}
    for name, place in names:
        auther = authers.get(name)
        if auther is None:
            report.error(place, f"handler.auther: {_unknown(name, authers)}")
            continue
        auther.nets.append(nets)
        tell_doubts(auther, report)
        for credential, where in auther.credentials:
            _check_own(credential, own, where, report)
        spec = auther.spec()
        if spec is not None:
            specs[name] = spec
        else:
            merged |= dict(auther.credentials)
    places = tuple((credential.username, where) for credential, where in merged.items())
    return Admitted(tuple(merged), tuple(specs.values()), places)


@dataclass(frozen=True, slots=True)
class RelayGroup:
    """Who may use a relay: each of these, and whom each of these authers lets in."""

    users: tuple[RelayUser, ...]
    specs: tuple[AutherSpec, ...]


def relay_authers(
    handler: dict[str, Entry], authers: dict[str, Auther], report: Report
) -> RelayGroup | None:
    """The authers a relay names; None if it names none. Errors as with `credentials_of`."""
    names = _names(handler, report)
    if names is None:
        return None
    users: dict[RelayUser, None] = {}
    specs: dict[str, AutherSpec] = {}
    for name, place in names:
        auther = authers.get(name)
        if auther is None:
            report.error(place, f"handler.auther: {_unknown(name, authers)}")
            continue
        auther.relayed = True
        for user, where in auther.users():
            if not user.password:
                report.error(where, "password: empty: nobody could use it")
            users[user] = None
        spec = auther.spec()
        if spec is not None:
            specs[name] = spec
    return RelayGroup(tuple(users), tuple(specs.values()))


def tell_doubts(auther: Auther, report: Report) -> None:
    """Report, once, what is wrong with an auther for a TUN service."""
    doubts, auther.doubts = auther.doubts, Report()
    report.errors.note(*doubts.errors)
    report.warnings.note(*doubts.warnings)
    report.unsupported.note(*doubts.unsupported)
    report.origins |= doubts.origins


def _user(node: Node) -> RelayUser | None:
    """As a relay reads it; what is wrong with its shape is told elsewhere."""
    entries = node.value if isinstance(node.value, dict) else {}
    found = [
        entries[key].node.value if key in entries else None for key in ("username", "password")
    ]
    if any(isinstance(value, dict | tuple) for value in found) or found[0] is None:
        return None
    username, password = (text(value).encode() for value in found)  # type: ignore[arg-type]
    return RelayUser(username, password)


def _names(handler: dict[str, Entry], report: Report) -> list[tuple[str, str]] | None:
    """The authers a handler names, each with its place; None if it names none."""
    nodes: list[Node] = []
    if "auther" in handler and not handler["auther"].node.is_empty:
        nodes.append(handler["auther"].node)
    if "authers" in handler:
        nodes.extend(items_of(handler["authers"].node, "handler.authers", report))
    names = []
    for node in nodes:
        if isinstance(node.value, dict | tuple) or node.is_empty:
            report.error(node.place, "handler.auther: expected the name of an auther")
        else:
            names.append((text(node.value), node.place))
    return names if nodes else None


def _unknown(name: str, authers: dict[str, Auther]) -> str:
    near = nearest(name, list(authers))
    if near:
        return f"there is no auther {shown(name)}: did you mean {near}?"
    known = ", ".join(shown(name) for name in authers) or "none"
    return f"there is no auther {shown(name)} in authers (there is {known})"


def _single(
    handler: dict[str, Entry], nets: tuple[Interface, ...], report: Report
) -> Admitted | None:
    if "auth" not in handler or handler["auth"].node.value is None:
        return None
    node = handler["auth"].node
    if node.is_empty:
        report.error(node.place, "handler.auth: empty: write a username and a password")
        return Admitted(())
    credential = _credential(node, "handler.auth", report)
    if credential is None:
        return Admitted(())
    _check_own(credential, frozenset(str(net.ip) for net in nets), node.place, report)
    if nets and (problem := cannot_be_a_peer(ip_address(credential.username), nets)):
        report.warn(node.place, f"username: {credential.username} {problem}")
    return Admitted((credential,), places=((credential.username, node.place),))


def _check_own(credential: Credential, own: frozenset[str], place: str, report: Report) -> None:
    if credential.username in own:
        report.error(place, f"username: {credential.username} is the server's own address")
