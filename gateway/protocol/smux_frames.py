"""The frames of smux, little-endian, and the options both ends must have alike.

     0     1     2           4                       8
    +-----+-----+-----------+-----------------------+-------- - -
    | VER | CMD | LEN       | stream id             | LEN bytes
    +-----+-----+-----------+-----------------------+-------- - -

    SYN opens, FIN closes, PSH is data, NOP says "alive" (all but PSH: LEN 0)
    UPD, version 2 only, LEN 8: bytes consumed so far (mod 2^32), window

Sources: smux 1.5 for Go, frame.go and session.go; GOST x, internal/util/mux.
"""

from dataclasses import dataclass
from struct import Struct

from gateway.protocol.wire import WireError

SYN, FIN, PSH, NOP, UPD = range(5)
HEADER = Struct("<BBHI")
UPDATE = Struct("<BBHIII")
FIRST_WINDOW = 262144
"""What a sender of version 2 may have under way before the first UPD, whatever is configured."""
LARGEST_WINDOW = 2**31 - 1
LAST_ID = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Options:
    """Seconds and bytes; the defaults are GOST's, but for a larger window.

    ValueError names what is wrong.
    """

    version: int = 1
    keepalive: float = 10.0
    """A NOP this often; 0: no NOPs, and silence is no reason to end."""
    timeout: float = 30.0
    max_frame: int = 32768
    receive_buffer: int = 4 << 20
    stream_buffer: int = 1 << 20
    """The window of version 2, after the first UPD: ours to choose. GOST's 64 KB let 50 Mb/s
    through on a path of 10 ms."""
    max_streams: int = 4096
    """Open at a time: more are refused, and `open` finds the session full."""

    def __post_init__(self) -> None:
        if self.version not in {1, 2}:
            raise ValueError(f"mux.version: smux has versions 1 and 2, not {self.version}")
        if self.keepalive and not 0 < self.keepalive <= self.timeout:
            raise ValueError(
                f"mux.keepaliveInterval: {self.keepalive:g} s is not above 0 "
                f"and at most mux.keepaliveTimeout ({self.timeout:g} s)"
            )
        if not 0 < self.max_frame <= 65535:
            raise ValueError(f"mux.maxFrameSize: 1 to 65535, not {self.max_frame}")
        if not 0 < self.stream_buffer <= min(self.receive_buffer, LARGEST_WINDOW):
            raise ValueError(
                f"mux.maxStreamBuffer: {self.stream_buffer} is not above 0 "
                f"and at most mux.maxReceiveBuffer ({self.receive_buffer})"
            )


Head = tuple[int, ...]
"""VER, CMD, LEN, stream id; for UPD also consumed and window."""


class Heads:
    """Reads headers out of pieces cut anywhere. What follows a PSH is not its affair."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._partial = bytearray()

    def next(self, view: memoryview, at: int) -> tuple[Head | None, int]:
        """The header that ends in `view`, begun there at `at` or before, and where it ends.

        None: it is not all here yet. Raise WireError for what is no frame of this version.
        """
        if not self._partial and len(view) - at >= HEADER.size:
            whole: Head = HEADER.unpack_from(view, at)
            if whole[1] != UPD:
                return self._checked(whole), at + HEADER.size
        head, at = self._fill(HEADER, view, at)
        if head is not None and head[1] == UPD:
            head, at = self._fill(UPDATE, view, at)
        if head is not None:
            self._partial.clear()
        return head, at

    def _fill(self, layout: Struct, view: memoryview, at: int) -> tuple[Head | None, int]:
        missing = max(0, layout.size - len(self._partial))
        self._partial += view[at : at + missing]
        at = min(len(view), at + missing)
        if len(self._partial) < layout.size:
            return None, at
        return self._checked(layout.unpack_from(self._partial)), at

    def _checked(self, head: Head) -> Head:
        version, command, length = head[:3]
        if version != self._version:
            raise WireError(f"an smux frame of version {version}, not {self._version}")
        if command > UPD or (command == UPD and version == 1):
            raise WireError(f"smux {version} has no command {command}")
        if command != PSH and length != (8 if command == UPD else 0):
            raise WireError(f"an smux frame of command {command} has not {length} bytes")
        return head
