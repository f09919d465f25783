"""Handlers of the supervisor's loop that need a descriptor, and what they do without one."""

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.errors import NoRoomError
from gateway.linux import lan, netlink
from gateway.protocol.forwarding import Role
from gateway.supervisor import device as devices
from gateway.supervisor.device import TunDevice
from gateway.supervisor.dns import LinkDns
from gateway.supervisor.host_routes import HostRoutes
from gateway.supervisor.report import Reporter

STARVED = NoRoomError("netlink cannot be opened: Too many open files")
LINK = netlink.Link(index=7, name="tun0", mtu=1420, up=True, queue_dropped=0)


class Device:
    """Tells what it is like while there is a descriptor."""

    name = "tun0"
    persistent = False
    starved = False

    def link(self) -> netlink.Link:
        if self.starved:
            raise STARVED
        return LINK


def service(**more: object) -> Any:
    return SimpleNamespace(name="hub", nets=(), routes=(), mtu=1420, netns=None, **more)


def test_routes_of_a_router_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device()
    host: Any = SimpleNamespace()
    routes = HostRoutes(service(role=Role.SERVER), device, host)  # type: ignore[arg-type]
    device.starved = True
    monkeypatch.setattr(lan, "connected", device.link)
    routes._tend()
    routes._look()
    assert routes.problems == ()


def test_the_status_says_what_is_not_known() -> None:
    device = Device()
    device.starved = True
    running: Any = SimpleNamespace(config=service(), opened=SimpleNamespace(device=device))
    problems: list[str] = []
    status = Reporter("hub", "nobody")._device(running, problems)
    assert problems == [f"service hub: device tun0 is not known: {STARVED}"]
    assert (status.name, status.mtu, status.up) == ("tun0", 1420, False)


def test_a_device_that_could_not_be_set_again_is_at_the_next_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Although the kernel does not tell a second time that it was down."""
    told = [True, False, False]
    monitor = SimpleNamespace(was_down=lambda _: told.pop(0))
    monkeypatch.setattr(devices, "LinkMonitor", lambda: monitor)
    tun: Any = SimpleNamespace(up=lambda: True)
    inner: Any = SimpleNamespace()
    made = TunDevice(service(), tun, inner, None)
    calls: list[int] = []

    def configure() -> None:
        calls.append(len(told))
        if len(calls) == 1:
            raise STARVED

    monkeypatch.setattr(made, "configure", configure)
    with pytest.raises(NoRoomError):
        made.tend()
    assert made.tend()
    assert not made.tend()
    assert calls == [2, 1]


def test_name_servers_are_set_once_there_is_room() -> None:
    """What a crash would leave is written down before."""
    device = Device()
    asked: list[object] = []
    records: list[object] = []
    dns = LinkDns(service(dns=("192.0.2.53",), device=None))
    dns._device, dns._record = device, records.append  # type: ignore[assignment]
    dns._steward = SimpleNamespace(ask=lambda *order: asked.append(order))  # type: ignore[assignment]
    device.starved = True
    dns.mend()
    assert (asked, records) == ([], [])
    assert str(STARVED) in dns.problem
    device.starved = False
    dns._retry()
    assert len(asked) == len(records) == 1
