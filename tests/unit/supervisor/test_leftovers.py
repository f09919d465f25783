"""The file of what a crash would leave."""

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from gateway.errors import HostError
from gateway.linux import nat, routing
from gateway.linux.adopted import DeviceRecord
from gateway.linux.nat import NatRecord
from gateway.linux.resolved import DnsRecord
from gateway.linux.route_plan import RouteRecord
from gateway.linux.sysctl import Change
from gateway.supervisor.leftovers import Left, Leftovers, merge

NAT = NatRecord("here", (Change("ipv4/ip_forward", "0", "1"),))
ROUTES = RouteRecord("here", (b"\x02\xff",), (b"x",))


def test_it_is_found_again_once(tmp_path, monkeypatch):
    undone: list[object] = []
    monkeypatch.setattr(nat, "undo", lambda record: undone.append(record) or ())
    monkeypatch.setattr(routing, "undo", lambda record: undone.append(record) or ("stays",))
    Leftovers(tmp_path, "hub").save("one", Left(NAT, ROUTES))
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    Leftovers(tmp_path, "other").undo()
    assert undone == []
    Leftovers(tmp_path, "hub").undo()
    assert undone == [ROUTES, NAT]
    Leftovers(tmp_path, "hub").undo()
    assert undone == [ROUTES, NAT]


def test_nothing_left_is_no_file(tmp_path):
    leftovers = Leftovers(tmp_path, "hub")
    leftovers.save("one", Left(NAT))
    leftovers.save("two", Left(NAT))
    leftovers.save("one", Left(NatRecord("here"), RouteRecord("here")))
    assert len(list(tmp_path.iterdir())) == 1
    leftovers.save("two", Left())
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_and_an_impossible_place_end_nothing(tmp_path, caplog):
    Leftovers(tmp_path, "hub").save("one", Left(NAT))
    (file,) = tmp_path.iterdir()
    file.write_text("{")
    Leftovers(tmp_path, "hub").undo()
    assert list(tmp_path.iterdir()) == []
    nowhere = Leftovers(tmp_path / "file" / "below", "hub")
    nowhere.save("one", Left(NAT))
    nowhere.save("one", Left(NAT, ROUTES))
    assert caplog.text.count("no-leftovers") == 1
    assert caplog.text.count("leftovers-damaged") == 1


def test_settings_that_stay_are_tried_again_by_every_start(tmp_path, monkeypatch):
    """Whatever is saved meanwhile; routes are not: others may have made new ones."""
    undone: list[object] = []
    answers: list[tuple[str, ...]] = [("stays",), (), ("stays",), ()]
    monkeypatch.setattr(nat, "undo", lambda record: undone.append(record) or answers.pop(0))
    monkeypatch.setattr(routing, "undo", lambda record: undone.append(record) or ("stays",))
    later = replace(NAT, place="later")
    Leftovers(tmp_path, "hub").save("one", Left(NAT, ROUTES))
    second = Leftovers(tmp_path, "hub")
    second.undo()
    second.save("one", Left(later))
    third = Leftovers(tmp_path, "hub")
    third.undo()
    assert undone == [ROUTES, NAT, later, NAT]
    third.save("one", Left())
    fourth = Leftovers(tmp_path, "hub")
    fourth.undo()
    assert undone == [ROUTES, NAT, later, NAT, NAT]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [HostError("no netlink"), OSError(24, "Too many open files")])
def test_what_cannot_be_tried_is_kept_whole(tmp_path, monkeypatch, error):
    def fail(_record):
        raise error

    Leftovers(tmp_path, "hub").save("one", Left(NAT, ROUTES))
    with monkeypatch.context() as starved:
        starved.setattr(routing, "undo", fail)
        Leftovers(tmp_path, "hub").undo()
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    undone: list[object] = []
    monkeypatch.setattr(nat, "undo", lambda record: undone.append(record) or ())
    monkeypatch.setattr(routing, "undo", lambda record: undone.append(record) or ())
    Leftovers(tmp_path, "hub").undo()
    assert undone == [ROUTES, NAT]
    assert list(tmp_path.iterdir()) == []


SIX = NatRecord("here", (Change("ipv6/conf/all/forwarding", "0", "1"),))


def undone_by(directory: Path, stays: tuple[str, ...] = ()) -> list[NatRecord]:
    """What a start puts back, in order. `stays` is said of each."""
    undone: list[NatRecord] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nat, "undo", lambda record: undone.append(record) or stays)
        Leftovers(directory, "hub").undo()
    return undone


def crash(directory: Path, left: Left) -> None:
    """A start that cannot put back what is there, and a run that is killed."""
    leftovers = Leftovers(directory, "hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nat, "undo", lambda _: ("stays",))
        leftovers.undo()
    leftovers.save("one", left)


def test_what_two_runs_left_is_put_back_together(tmp_path):
    """The older value counts, of a setting of both too; what the later run found comes first."""
    eth0, eth1 = (f"ipv4/conf/{name}/forwarding" for name in ("eth0", "eth1"))
    switch = "ipv4/ip_forward"
    crash(tmp_path, Left(NatRecord("here", (Change(eth0, "1", "1"), Change(switch, "0", "1")))))
    crash(tmp_path, Left(NatRecord("here", (Change(eth1, "1", "1"), Change(switch, "2", "1")))))
    crash(tmp_path, Left(SIX))
    assert len(undone_by(tmp_path, ("stays",))) == 2
    expected = (*SIX.changes, Change(eth1, "1", "1"), Change(eth0, "1", "1"), *NAT.changes)
    assert undone_by(tmp_path) == [NatRecord("here", expected)]
    assert list(tmp_path.iterdir()) == []


def test_what_two_runs_left_in_two_places_is_put_back_in_each(tmp_path):
    """A service may have another network namespace by now. Each is in the file once."""
    there = NatRecord("there", SIX.changes)
    for _ in range(3):
        crash(tmp_path, Left(NAT))
        crash(tmp_path, Left(there))
    assert undone_by(tmp_path, ("stays",)) == [there, NAT, there]
    assert undone_by(tmp_path) == [there, NAT]
    assert list(tmp_path.iterdir()) == []


def test_whatever_two_runs_left_is_merged():
    device = DeviceRecord("here", 3, 1500, 500, True, None, (("10.0.0.1", 24),))
    dns = DnsRecord("here", 3, ("192.0.2.1",))
    older = Left(NAT, ROUTES, dns, device)
    newer = Left(
        SIX,
        RouteRecord("here", (b"new",), (b"x", b"y")),
        replace(dns, former=()),
        replace(device, mtu=1420, added=(("10.0.0.2", 24), ("10.0.0.1", 24))),
    )
    assert merge(newer, older) == Left(
        NatRecord("here", SIX.changes + NAT.changes),
        RouteRecord("here", (b"new", b"\x02\xff"), (b"y", b"x")),
        dns,
        replace(device, added=(("10.0.0.1", 24), ("10.0.0.2", 24))),
    )
    assert merge(newer, Left()) == merge(Left(), newer) == newer
    assert merge(newer, replace(older, netns="/run/netns/other")) is None
    assert merge(Left(dns=dns), Left(dns=replace(dns, index=4))) is None
    assert merge(Left(device=device), Left(device=replace(device, index=4))) is None
    assert merge(Left(routes=ROUTES), Left(routes=replace(ROUTES, place="there"))) is None


def test_a_file_of_an_earlier_program_is_read(tmp_path):
    Leftovers(tmp_path, "hub").save("one", Left(NAT))
    (file,) = tmp_path.iterdir()
    one = msgspec.json.decode(file.read_bytes())["services"]["one"]
    earlier = {"services": {"one": one}, "former": {"one": {"nat": SIX}}, "version": 1}
    file.write_bytes(msgspec.json.encode(earlier))
    assert undone_by(tmp_path, ("stays",)) == [NAT, SIX]
    assert undone_by(tmp_path) == [NatRecord("here", NAT.changes + SIX.changes)]
