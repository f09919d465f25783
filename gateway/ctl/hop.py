"""The relay that a client comes through: its `-F`, and its part of the YAML."""

import json
from typing import NamedTuple
from urllib.parse import quote

from gateway.protocol.status import RelayFacts

USER_PLACEHOLDER = "USER"
PASSWORD_PLACEHOLDER = "PASSWORD"  # noqa: S105 - it is none
NAME = "relay"
"""Of the chain, the hop and the node in the YAML."""


class Hop(NamedTuple):
    """`server` is host:port."""

    relay: RelayFacts
    server: str

    @property
    def url(self) -> str:
        """What `-F` takes."""
        user = f"{USER_PLACEHOLDER}:{PASSWORD_PLACEHOLDER}@" if self.relay.auth else ""
        pairs = {**self._tls(), **self._options()}
        query = "&".join(f"{key}={quote(value, safe=',:/')}" for key, value in pairs.items())
        return f"relay+{self.relay.carrier}://{user}{self.server}{'?' if query else ''}{query}"

    @property
    def yaml(self) -> list[str]:
        """The lines of `chains`."""
        lines = [
            "chains:",
            f"- name: {NAME}",
            "  hops:",
            f"  - name: {NAME}",
            "    nodes:",
            f"    - name: {NAME}",
            f"      addr: {json.dumps(self.server)}",
            "      connector:",
            "        type: relay",
        ]
        if self.relay.auth:
            lines += [
                "        auth:",
                f"          username: {json.dumps(USER_PLACEHOLDER)}",
                f"          password: {json.dumps(PASSWORD_PLACEHOLDER)}",
            ]
        lines += ["      dialer:", f"        type: {self.relay.carrier}"]
        for part, pairs in (("tls", self._tls()), ("metadata", self._options())):
            if pairs:
                lines.append(f"        {part}:")
                lines += [f"          {key}: {json.dumps(value)}" for key, value in pairs.items()]
        return lines

    @property
    def notes(self) -> list[str]:
        """What is to be replaced or added, but for the server's address."""
        relay, found = self.relay, []
        if relay.auth:
            found.append(
                f"replace {USER_PLACEHOLDER} and {PASSWORD_PLACEHOLDER} by those of a user of the"
                f" relay listener {relay.name}"
            )
        found += [
            f"replace {_placeholder(name)} by the {name} of the relay listener {relay.name}"
            for name, value in relay.options.items()
            if not value
        ]
        if relay.tls and not relay.pin:
            found.append(
                f"the relay listener {relay.name} shows a certificate from a file: add secure=true,"
                " ca= or pin= to check it; else anybody can pose as the server"
            )
        if relay.wants_certificate:
            found.append(
                f"the relay listener {relay.name} wants a certificate of its clients:"
                " add cert= and key="
            )
        return found

    def _tls(self) -> dict[str, str]:
        found = {"serverName": self.relay.server_name, "pin": self.relay.pin}
        return {key: value for key, value in found.items() if value}

    def _options(self) -> dict[str, str]:
        return {key: value or _placeholder(key) for key, value in self.relay.options.items()}


def _placeholder(option: str) -> str:
    """`kcp.key` is KCP-KEY."""
    return option.upper().replace(".", "-")
