"""Datagrams on a byte stream, a burst at a time: `LEN(2) | datagram`, big-endian, repeated.

The bridges' part of the data path. Sockets are connected UDP sockets by descriptor; no
call waits. One process uses one thread for it.
"""

LARGEST: int
"""Bytes of the largest datagram a frame may hold: 65,507."""

def pack(burst: bytes | bytearray | memoryview, segment: int) -> bytes:
    """A burst as frames, cut every `segment` bytes; 0: it is one datagram.

    The last may be shorter, an empty burst gives nothing. ValueError: too long for a frame.
    """

class Packer:
    """From sockets to frames. A process needs one; its memory is 2 MB once in use."""

    def receive(self, fd: int) -> memoryview | None:
        """What waits on the socket, framed, up to some 200 KB; None: nothing waits.

        Borrowed until the next call (I5).
        """

    @property
    def datagrams(self) -> int:
        """Received so far, from all sockets."""

    @property
    def more(self) -> bool:
        """Whether the last `receive` stopped before the socket was empty."""

    def read(self) -> dict[str, int]:
        """datagrams, bytes: received so far, from all sockets. The rest: see `Unpacker`."""

class Unpacker:
    """One direction of one stream: bytes to datagrams. Keeps a frame's beginning, no more."""

    def send(self, fd: int, data: bytes | bytearray | memoryview) -> None:
        """Send every datagram that is whole now; runs of one size as groups.

        Empty ones are passed over. ValueError: a frame over `LARGEST`, or no memory; the
        stream cannot be read any further.
        """

    def feed(self, data: bytes | bytearray | memoryview) -> list[tuple[int, bytes]]:
        """As `send`, without a socket: the runs it would send, each (segment, payload).

        All datagrams of a run have `segment` bytes, the last maybe fewer; at most 64 and
        65,507 bytes a run.
        """

    @property
    def kept(self) -> int:
        """Bytes of a frame whose rest has not come yet."""

    @property
    def empty(self) -> int:
        """Frames without a datagram so far."""

    def read(self) -> dict[str, int]:
        """What became of the datagrams.

        datagrams, bytes: sent. Dropped: full (no room in the socket), refused (nobody has
        the port), failed (any other error). fallbacks: groups that went one by one.
        """
