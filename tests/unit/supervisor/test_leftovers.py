"""The file of what a crash would leave."""

import pytest
from msgspec.structs import replace

from gateway.errors import HostError
from gateway.linux import nat, routing
from gateway.linux.nat import NatRecord
from gateway.linux.route_plan import RouteRecord
from gateway.linux.sysctl import Change
from gateway.supervisor.leftovers import Left, Leftovers

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
