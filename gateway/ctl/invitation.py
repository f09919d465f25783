"""The command line and the YAML of a client, from what its server says.

Stock GOST reads both as this program does, so they are written once. A placeholder is in
capitals and is named in a note: nobody can mistake it for a value.
"""

import json
import re
from typing import NamedTuple
from urllib.parse import quote

from gateway.errors import ConfigError
from gateway.protocol.status import ClientFacts

HOST_PLACEHOLDER = "SERVER-ADDRESS"
PASSPHRASE_PLACEHOLDER = "PASSPHRASE"  # noqa: S105 - it is none
DEFAULT_MTU = 1420
_NAMED = re.compile(r"(?P<host>[\w.-]+)(:(?P<port>\d{1,5}))?", re.ASCII)
_BRACKETED = re.compile(r"\[(?P<host>[\da-fA-F:.]+)\](:(?P<port>\d{1,5}))?", re.ASCII)
_BARE6 = re.compile(r"(?P<host>[\da-fA-F:.]*:[\da-fA-F:.]+)(?P<port>\Z)", re.ASCII)


class Invitation(NamedTuple):
    """`target` is host:port. `passphrase` None: none is needed."""

    facts: ClientFacts
    target: str
    passphrase: str | None

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


def target_of(facts: ClientFacts, said: str) -> str:
    """host:port: what the user said, else what peers use, else what is listened on.

    Raises ConfigError for a `said` that is neither HOST nor HOST:PORT.
    """
    host, port = _parted(said) if said else ("", "")
    known = facts.reached[0] if facts.reached else facts.listen
    host = host or ("" if known in ("::", "0.0.0.0") else known)  # noqa: S104 - not a place
    host = host or HOST_PLACEHOLDER
    return f"[{host}]:{port or facts.port}" if ":" in host else f"{host}:{port or facts.port}"


def notes(invitation: Invitation) -> list[str]:
    """What the user must know before he sends it on."""
    facts, found = invitation.facts, []
    if HOST_PLACEHOLDER in invitation.target:
        found.append(
            f"replace {HOST_PLACEHOLDER} by the server's public name or address,"
            " or say it with --host"
        )
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


def _parted(said: str) -> tuple[str, str]:
    """`vpn.example`, `vpn.example:9000`, `2001:db8::1`, `[2001:db8::1]:9000`."""
    found = _BRACKETED.fullmatch(said) or _NAMED.fullmatch(said) or _BARE6.fullmatch(said)
    if found is None or int(found["port"] or 1) not in range(1, 65536):
        raise ConfigError(f"--host {said}: HOST or HOST:PORT is expected, as vpn.example.com:8421")
    return found["host"], found["port"] or ""
