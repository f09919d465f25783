"""What bridges count, by name: datagrams that were lost, strangers that were turned away.

The words are those of the status. Carriers add names of their own (docs/carriers.md).
"""

DROP_TEXT = {
    "overflow": "too many bytes waited for a slow stream; the oldest went",
    "late": "waited too long for a slow stream",
    "unsent": "their stream ended while they waited",
    "unconnected": "the chain had no stream",
    "socket_full": "the service's socket had no room",
    "socket_refused": "nobody had the service's port",
    "socket_failed": "the kernel refused to send them to the service",
    "unread": "the bridge was too slow: its socket had no room",
    "empty": "frames without a datagram",
}
"""Datagrams that went nowhere."""

STRANGER_TEXT = {
    "bad-request": "its first bytes are no relay request",
    "request-timeout": "it did not say in time what it wants",
    "stranger-evicted": "it had said nothing, and its place was needed",
    "impatient": "it sent too much before it was let in",
    "unauthorized": "a wrong user or password",
    "undecided": "who could judge its password did not answer",
    "forbidden": "it asked for what allow does not list",
    "bad-target": "it asked for what a relay cannot do",
    "unreachable": "what it asked for could not be reached",
    "bad-frame": "its frames made no sense",
    "ended-early": "it left before it was let in",
    "handshake-timeout": "its handshake took too long",
    "handshake-ended": "it left during the handshake",
    "half-open-evicted": "it was not let in yet, and its place was needed",
    "unproven": "a session of which no stream was let in in time",
    "idle-evicted": "a session without a stream that was let in; its place was needed",
    "unanswered": "it had never had an answer from the tunnel, and its place was needed",
    "bad-tls": "its TLS handshake failed: no TLS, or it does not trust the certificate",
    "bad-http": "no HTTP, or not as a WebSocket or gRPC client speaks",
    "wrong-path": "it asked for another path",
    "no-descriptors": "this process had no descriptor left",
    "full": "the listener had as many streams, or sessions, as it may",
    "client-full": "its user, or its host, had half of the places already",
    "noise": "datagrams that nobody of ours sends",
}
"""What ended a stream that led nowhere, or kept it from beginning."""

QUIET = frozenset(
    {
        "streams", "strangers", "to_stream", "to_stream_bytes", "to_socket", "to_socket_bytes",
        "fallbacks", "connected", "stream-ends", "accepted", "retry", "group-refused",
    }
)  # fmt: skip
"""Counts of what is as it should be."""
