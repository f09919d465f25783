"""The header blocks of gRPC over HTTP/2: a request, an answer, trailers, and no others.

HPACK is the `hpack` library's. A list is at most 16 KB, its block too.
"""

from dataclasses import dataclass, field
from urllib.parse import unquote

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError

from gateway.protocol.wire import WireError

LARGEST_LIST = 16384
LARGEST_BLOCK = 16384
UNIMPLEMENTED = 12
_CONTENT_TYPE = "application/grpc"
_AGENT = "grpc-go/1.82.1"
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a request is answered that opens no stream, and what it is counted as."""

    headers: list[tuple[str, str]]
    what: str


@dataclass(slots=True)
class HeaderBlocks:
    """Both directions of one connection's compression; they keep state, so order matters."""

    _encoder: Encoder = field(default_factory=Encoder)
    _decoder: Decoder = field(default_factory=lambda: Decoder(LARGEST_LIST))

    def limit_table(self, size: int) -> None:
        """What the peer wants to remember of ours at most."""
        self._encoder.header_table_size = min(size, 4096)

    def encode(self, headers: list[tuple[str, str]]) -> bytes:
        """A block, short enough for one frame."""
        return self._encoder.encode(headers)

    def decode(self, block: bytes) -> dict[str, str]:
        """Names (lower case, pseudo-headers too) to values, the first of each; WireError."""
        try:
            headers = self._decoder.decode(block, raw=True)
        except (HPACKError, ValueError, IndexError) as error:
            raise WireError(f"an HTTP/2 header block that is none: {error}") from error
        found: dict[str, str] = {}
        for header in headers:
            name, value = bytes(header[0]), bytes(header[1])
            found.setdefault(name.decode("latin-1"), value.decode("latin-1"))
        return found


def request(path: str, authority: str, scheme: str) -> list[tuple[str, str]]:
    """What opens a stream; in the order of gRPC for Go."""
    return [
        (":method", "POST"),
        (":scheme", scheme),
        (":path", path),
        (":authority", authority),
        ("content-type", _CONTENT_TYPE),
        ("user-agent", _AGENT),
        ("te", "trailers"),
    ]


def answer() -> list[tuple[str, str]]:
    """What says that a stream is open."""
    return [(":status", "200"), ("content-type", _CONTENT_TYPE)]


def trailers(status: int = 0, message: str = "") -> list[tuple[str, str]]:
    """What ends a stream."""
    return [("grpc-status", str(status)), ("grpc-message", message)]


def judge(headers: dict[str, str], path: str) -> Refusal | None:
    """None: this request opens a stream of ours."""
    if headers.get(":method") != "POST":
        return Refusal([(":status", "405")], "bad-http")
    kind = headers.get("content-type", "")
    if kind != _CONTENT_TYPE and not kind.startswith((f"{_CONTENT_TYPE}+", f"{_CONTENT_TYPE};")):
        return Refusal([(":status", "415")], "bad-http")
    if headers.get(":path") != path:
        return Refusal(
            answer() + trailers(UNIMPLEMENTED, "unknown service or method"), "wrong-path"
        )
    return None


def outcome(headers: dict[str, str], *, last: bool) -> str | None:
    """What an answer or trailers say: None, go on; empty, the end in order; else why."""
    status = headers.get(":status", "200")
    grpc = headers.get("grpc-status")
    if grpc is None:
        if status != "200":
            return f"answered HTTP {_shown(status)}"
        return "" if last else None
    if grpc == "0":
        return ""
    message = unquote(headers.get("grpc-message", ""))
    hint = ": is the path right?" if grpc == str(UNIMPLEMENTED) else ""
    return f"answered gRPC status {_shown(grpc)} ({_shown(message)}){hint}"


def _shown(text: str) -> str:
    """A peer's words in a log line: short, and on one line."""
    return "".join(c if c.isprintable() else "?" for c in text[:_SHOWN])
