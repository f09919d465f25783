"""The loops of the data path. A call of `run` is many turns without the interpreter.

`run(timeout)` comes back with the bits below as soon as one of them is set, with 0
after `timeout` seconds or when a signal arrived. It beats the page's pulse every
turn and releases the GIL. Descriptors are borrowed: the caller keeps them open.
"""

from gateway.fastpath.counters import Page
from gateway.fastpath.fib import Fib
from gateway.fastpath.ring import Ring

CHANNEL: int
"""A message waits on the channel."""
PUNTS: int
"""Control datagrams wait in `Worker.punts`."""
DEVICE_GONE: int
"""The TUN device was deleted."""
REFUSED: int
"""The server's host answered that nobody listens there (ECONNREFUSED)."""
SOURCE_GONE: int
"""The way to the server is gone (ENETUNREACH and the like)."""

class Reader:
    """The tun-reader: TUN to rings. `tun` must not block."""

    def __init__(
        self,
        *,
        tun: int,
        channel: int,
        rings: list[Ring],
        doorbells: list[int],
        fib: Fib,
        page: Page,
        mss_mtu: int = 0,
    ) -> None: ...
    def run(self, timeout: float) -> int: ...

class Worker:
    """A udp-worker: UDP to TUN, to other peers and to the supervisor; ring to UDP.

    `family` is the socket's (AF_INET, or AF_INET6 for dual-stack). `gso`: groups may
    be sent with UDP_SEGMENT. `merge_tcp`, `merge_udp`: what the device takes as
    super-packets. Whether GRO is on is the socket's own affair. `own4`, `own6`: the
    gateway's tunnel addresses, 16 bytes each; peers get ICMP errors from them for
    addresses that nobody has and about packets between peers that are wider than `mtu`,
    or none where they are zero. `mss_mtu`: the MSS of SYNs is clamped to this MTU, by the
    reader too; 0: it is not.
    """

    def __init__(
        self,
        *,
        udp: int,
        tun: int,
        channel: int,
        ring: Ring,
        doorbell: int,
        fib: Fib,
        page: Page,
        role: int,
        connected: bool,
        family: int,
        source_check: bool,
        gso: bool,
        merge_tcp: bool,
        merge_udp: bool,
        own4: bytes = ...,
        own6: bytes = ...,
        mss_mtu: int = 0,
        mtu: int = 65535,
    ) -> None: ...
    def run(self, timeout: float) -> int: ...
    def punts(self) -> list[tuple[bytes, int, int, bytes, bytes]]:
        """Drained: (address, port, scope, local address, datagram) each.

        Take them after every `run`: the next one forgets them.
        """
