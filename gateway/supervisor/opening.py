"""Opening what a service holds of the kernel: device, sockets, shared memory, doorbells.

As root and before any fork. What fails leaves nothing behind.

The device lives in one network namespace (`inner`), the sockets in another (`outer`):
mostly both are the one where the program was started. The control socket, the state and
the look-up of names stay there in any case.
"""

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from gateway.config import model
from gateway.errors import HostError
from gateway.fastpath.counters import Page
from gateway.fastpath.ring import Ring
from gateway.linux import netns, offload, udp
from gateway.linux.channel import doorbell
from gateway.linux.icmp import Echoes, open_echoes
from gateway.linux.netns import Namespace
from gateway.linux.offload import Probe
from gateway.linux.outward import Link, default_links
from gateway.linux.shared import Arena
from gateway.protocol.forwarding import Role
from gateway.protocol.peers import CAPACITY
from gateway.supervisor.device import Device

RING_BYTES = 4 << 20
"""Some milliseconds of traffic at the speed of one worker."""


@dataclass(frozen=True)
class Opened:
    """What a service holds of the kernel. The first `workers` sockets are the workers'.

    `inner` is the device's network namespace, `outer` that of the sockets. A client has
    `echoes` to measure its path with, and with several targets a `spare` socket to ask
    those not in use; a server has the `links` its default routes lead over.
    """

    inner: Namespace
    outer: Namespace
    device: Device
    sockets: tuple[socket.socket, ...]
    acks: socket.socket | None
    probe: Probe
    doorbells: tuple[int, ...]
    arena: Arena
    rings: tuple[memoryview, ...]
    pages: tuple[Page, ...]
    spare: socket.socket | None = None
    echoes: tuple[Echoes, ...] = ()
    links: tuple[Link, ...] = ()

    def close(self) -> None:
        """Give everything back."""
        for sock in (*self.sockets, *((self.acks,) if self.acks else ())):
            sock.close()
        for extra in (*self.echoes, *((self.spare,) if self.spare else ())):
            extra.close()
        for bell in self.doorbells:
            os.close(bell)
        self.device.close()
        self.inner.close()
        self.outer.close()


def open_service(
    service: model.Service, workers: int, open_device: Callable[[model.Service], Device]
) -> Opened:
    """Open the device, the sockets and the memory. Raises HostError, leaving nothing."""
    with ExitStack() as stack:
        opened = _open(service, workers, open_device, stack)
        stack.pop_all()
    return opened


def _open(
    service: model.Service,
    workers: int,
    open_device: Callable[[model.Service], Device],
    stack: ExitStack,
) -> Opened:
    inner = netns.open_namespace(service.netns, "netns")
    stack.callback(inner.close)
    outer = netns.open_namespace(service.netns_out, "netns.out")
    stack.callback(outer.close)
    probe = offload.OFF if service.offload == "off" else offload.probe()
    if service.offload == "on" and not (probe.gso and probe.gro):
        raise HostError(f"offload=on: {probe.note}; use offload=auto")
    with outer:
        sockets, acks = _open_sockets(service, workers, probe)
        for sock in (*sockets, *((acks,) if acks else ())):
            stack.callback(sock.close)
        spare = _open_spare(service)
        echoes, links = _look_outside(service)
    for extra in (*echoes, *((spare,) if spare else ())):
        stack.callback(extra.close)
    device = open_device(service)
    stack.callback(device.close)
    peers = CAPACITY if service.role is Role.SERVER else 1
    ring_size, page_size = Ring.bytes_for(RING_BYTES), Page.bytes_for(peers)
    arena = Arena([ring_size] * workers + [page_size] * (workers + 1))
    arena.populate()
    rings = tuple(arena.carve(ring_size) for _ in range(workers))
    for memory in rings:
        Ring(memory, create=True)
    pages = tuple(Page(arena.carve(page_size), peers) for _ in range(workers + 1))
    bells = tuple(doorbell() for _ in range(workers))
    return Opened(
        inner, outer, device, sockets, acks, probe, bells, arena, rings, pages, spare, echoes, links
    )


def _open_sockets(
    service: model.Service, workers: int, probe: Probe
) -> tuple[tuple[socket.socket, ...], socket.socket | None]:
    confines = udp.Confines(service.interface, service.mark)
    if service.role is Role.CLIENT:
        return (udp.open_client(gro=probe.gro, confines=confines),), None
    group = udp.open_group(service.host, service.port, workers, gro=probe.gro, confines=confines)
    return group.workers, group.acks


def _open_spare(service: model.Service) -> socket.socket | None:
    if service.role is not Role.CLIENT or len(service.targets) < 2:
        return None
    return udp.open_client(gro=False, confines=udp.Confines(service.interface, service.mark))


def _look_outside(service: model.Service) -> tuple[tuple[Echoes, ...], tuple[Link, ...]]:
    if service.role is Role.CLIENT:
        return open_echoes(udp.Confines(service.interface, service.mark)), ()
    return (), default_links()
