"""What an uplink asks of whoever has the sockets and the resolver.

Each is done once, in the order in which they were given out. One that fails is told as an event:
`resolve_failed`, `refused`, `source_gone`; a `Check` that fails is a question without an answer.
"""

from dataclasses import dataclass

from gateway.protocol.packet import Endpoint
from gateway.protocol.targets import Target


@dataclass(frozen=True)
class Resolve:
    """Find the target's addresses and answer with `resolved` or `resolve_failed`."""

    target: Target


@dataclass(frozen=True)
class Connect:
    """Connect the socket to the endpoint; `renew_port`: from a new source port."""

    endpoint: Endpoint
    renew_port: bool


@dataclass(frozen=True)
class SendHeartbeat:
    """Send a heartbeat to where the socket is connected, and say `sent` if it left."""


@dataclass(frozen=True)
class Check:
    """Send a heartbeat to the endpoint from the spare socket; its ack is `checked`."""

    endpoint: Endpoint
    renew_port: bool


Action = Resolve | Connect | SendHeartbeat | Check
