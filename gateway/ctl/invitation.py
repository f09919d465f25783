"""The command line and the YAML of a client, from what its server says.

Stock GOST reads both as this program does, so they are written once. A placeholder is in
capitals and is named in a note: nobody can mistake it for a value.

Where the server listens on loopback only, clients come through a relay listener of its
own. They dial that one, and the target is a port as the relay sees it.
"""

import json
import re
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import quote

from gateway.ctl.hop import NAME, Hop
from gateway.errors import ConfigError
from gateway.protocol.status import ClientFacts, RelayFacts

HOST_PLACEHOLDER = "SERVER-ADDRESS"
PASSPHRASE_PLACEHOLDER = "PASSPHRASE"  # noqa: S105 - it is none
DEFAULT_MTU = 1420
_NAMED = re.compile(r"(?P<host>[\w.-]+)(:(?P<port>\d{1,5}))?", re.ASCII)
_BRACKETED = re.compile(r"\[(?P<host>[\da-fA-F:.]+)\](:(?P<port>\d{1,5}))?", re.ASCII)
_BARE6 = re.compile(r"(?P<host>[\da-fA-F:.]*:[\da-fA-F:.]+)(?P<port>\Z)", re.ASCII)


class Invitation(NamedTuple):
    """`target` is host:port, or :port of a `hop`. `passphrase` None: none is needed."""

    facts: ClientFacts
    target: str
    passphrase: str | None
    hop: Hop | None = None

    @property
    def arguments(self) -> str:
        """What to write behind the program's name, in a shell."""
        return f'-L "{self.url}"' + (f' -F "{self.hop.url}"' if self.hop is not None else "")

    @property
    def url(self) -> str:
        """What `-L` takes."""
        pairs = [(key, ",".join(values)) for key, values in self._options()]
        query = "&".join(f"{key}={quote(value, safe=',:/')}" for key, value in pairs)
        return f"tun://:0/{self.target}?{query}"

    @property
    def yaml(self) -> str:
        """What `-C` takes. Scalars are quoted as in JSON, which YAML understands."""
        options = dict(self._options())
        handler = ["keepalive: true"]
        if self.passphrase is not None:
            handler.append(f"passphrase: {json.dumps(self.passphrase)}")
        listener = [
            f"{key}: {options[key][0] if key == 'mtu' else json.dumps(','.join(options[key]))}"
            for key in ("net", "mtu", "route")
            if key in options
        ]
        lines = [
            "services:",
            "- name: tun",
            '  addr: ":0"',
            "  handler:",
            "    type: tun",
            *([f"    chain: {NAME}"] if self.hop is not None else []),
            "    metadata:",
            *(f"      {line}" for line in handler),
            "  listener:",
            "    type: tun",
            "    metadata:",
            *(f"      {line}" for line in listener),
            "  forwarder:",
            "    nodes:",
            "    - name: server",
            f"      addr: {json.dumps(self.target)}",
            *(self.hop.yaml if self.hop is not None else []),
        ]
        return "\n".join(lines) + "\n"

    def _options(self) -> list[tuple[str, list[str]]]:
        facts = self.facts
        options = [("net", list(facts.interfaces)), ("keepalive", ["true"])]
        if facts.mtu != DEFAULT_MTU:
            options.append(("mtu", [str(facts.mtu)]))
        if facts.routes:
            options.append(("route", list(facts.routes)))
        if self.passphrase is not None:
            options.append(("passphrase", [self.passphrase]))
        return options


def invitation(facts: ClientFacts, said: str, passphrase: str | None) -> Invitation:
    """`said` is HOST or HOST:PORT of the server, or "". Raises ConfigError for anything else."""
    host, port = _parted(said) if said else ("", "")
    relay = _relay(facts)
    if relay is None:
        found = [*facts.reached, facts.listen]
        target = _joined(host or _first_place(found), port or facts.port)
        return Invitation(facts, target, passphrase)
    server = _joined(host or _first_place([relay.listen]), port or relay.port)
    return Invitation(facts, f":{facts.port}", passphrase, Hop(relay, server))


def notes(invitation: Invitation) -> list[str]:
    """What the user must know before he sends it on."""
    facts, hop, found = invitation.facts, invitation.hop, []
    if HOST_PLACEHOLDER in (invitation.target if hop is None else hop.server):
        found.append(
            f"replace {HOST_PLACEHOLDER} by the server's public name or address,"
            " or say it with --host"
        )
        listen = facts.listen if hop is None else hop.relay.listen
        if _is_loopback(listen):
            what = "the server" if hop is None else f"the relay listener {hop.relay.name}"
            found.append(
                f"{what} listens on {listen} only: clients elsewhere need something"
                " that leads to it, as a relay listener does"
            )
    if hop is not None:
        found += hop.notes
    if invitation.passphrase == PASSPHRASE_PLACEHOLDER:
        found.append(
            f"replace {PASSPHRASE_PLACEHOLDER} by the passphrase of the address,"
            " or name a file that holds it with --passphrase-file"
        )
    if facts.auth and facts.known == "network":
        found.append(
            "no credential names this address yet, so the server will refuse it;"
            " an auther's plugin may know more"
        )
    if facts.left_out:
        found.append(f"{facts.left_out} more networks have no route here; add those it needs")
    return found


def _relay(facts: ClientFacts) -> RelayFacts | None:
    """The one to come through, where there is no other way. Of several the first open one."""
    if not _is_loopback(facts.listen):
        return None
    return min(facts.relays, key=lambda relay: _is_loopback(relay.listen), default=None)


def _first_place(hosts: list[str]) -> str:
    """What others can reach; every address and loopback are no places."""
    for host in hosts:
        if host and not _is_loopback(host) and not ip_address(host).is_unspecified:
            return host
    return HOST_PLACEHOLDER


def _is_loopback(host: str) -> bool:
    return bool(host) and ip_address(host).is_loopback


def _joined(host: str, port: str | int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parted(said: str) -> tuple[str, str]:
    """`vpn.example`, `vpn.example:9000`, `2001:db8::1`, `[2001:db8::1]:9000`."""
    found = _BRACKETED.fullmatch(said) or _NAMED.fullmatch(said) or _BARE6.fullmatch(said)
    if found is None or int(found["port"] or 1) not in range(1, 65536):
        raise ConfigError(f"--host {said}: HOST or HOST:PORT is expected, as vpn.example.com:8421")
    return found["host"], found["port"] or ""
