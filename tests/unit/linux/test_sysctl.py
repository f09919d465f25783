"""What a record from the disk may change, and what is done where nothing can be read."""

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from gateway.errors import NoRoomError
from gateway.linux import sysctl
from gateway.linux.sysctl import Change


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sysctl, "ROOT", tmp_path / "net")
    for name in ("ipv4/conf/tun0", "ipv6/conf/eth0.5", "core"):
        (tmp_path / "net" / name).mkdir(parents=True)
    return tmp_path / "net"


@pytest.mark.parametrize(
    "key",
    ["ipv4/ip_forward", "ipv4/conf/tun0/forwarding", "ipv6/conf/eth0.5/accept_ra"],
)
def test_what_forwarding_changed_is_put_back(root: Path, key: str) -> None:
    (root / key).write_text("1\n")
    assert sysctl.undo([Change(key, "0", "1")]) == ()
    assert (root / key).read_text() == "0"


@pytest.mark.parametrize(
    ("key", "before"),
    [
        ("core/somaxconn", "0"),
        ("../panic", "0"),
        ("ipv4/conf/../ip_forward", "0"),
        ("ipv4/conf/../forwarding", "0"),
        ("ipv4/conf/tun0/rp_filter", "0"),
        ("ipv4/ip_forward", "70000"),
        ("{root}/ipv4/ip_forward", "0"),
    ],
)
def test_everything_else_is_left_alone(root: Path, key: str, before: str) -> None:
    key = key.format(root=root)
    (root / key).write_text("1\n")
    assert sysctl.undo([Change(key, before, "1")]) == ()
    assert (root / key).read_text() == "1\n"


def without_descriptors(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_what_cannot_be_read_is_not_put_back_and_that_is_said(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may still be as we made it; what is not there any more needs nothing."""
    (root / "ipv4/ip_forward").write_text("1\n")
    changes = [Change("ipv4/conf/gone/forwarding", "1", "1"), Change("ipv4/ip_forward", "0", "1")]
    with monkeypatch.context() as starved:
        starved.setattr(Path, "read_text", without_descriptors)
        (sentence,) = sysctl.undo(changes[1:])
    assert "net.ipv4.ip_forward cannot be read: Too many open files" in sentence
    assert sysctl.undo(changes) == ()
    assert (root / "ipv4/ip_forward").read_text() == "0"


def test_nothing_is_put_back_by_halves(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing `ip_forward` would overwrite the setting of a device that cannot be read now."""
    changes = [Change("ipv4/conf/tun0/forwarding", "1", "1"), Change("ipv4/ip_forward", "0", "1")]
    for change in changes:
        (root / change.key).write_text("1\n")
    read = Path.read_text

    def one(path: Path) -> str:
        return without_descriptors() if path.name == "forwarding" else read(path)

    with monkeypatch.context() as starved:
        starved.setattr(Path, "read_text", one)
        assert len(sysctl.undo(changes)) == 1
    assert (root / "ipv4/ip_forward").read_text() == "1\n"


@pytest.mark.parametrize("asked", ["read_text", "iterdir"])
def test_a_host_that_tells_nothing_is_no_host_that_forwards_not(
    root: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    (root / "ipv4/ip_forward").write_text("0\n")
    assert sysctl.plan_forwarding([4]) == (Change("ipv4/ip_forward", "0", "1"),)
    monkeypatch.setattr(Path, asked, without_descriptors)
    with pytest.raises(NoRoomError, match="cannot be read: Too many open files"):
        sysctl.plan_forwarding([4])


def test_the_place_is_known_without_a_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it was asked for; before that it is an error that the host side knows."""
    known = sysctl.place()
    monkeypatch.setattr(Path, "read_text", without_descriptors)
    assert sysctl.place() == known
    sysctl._boot.cache_clear()
    with pytest.raises(NoRoomError):
        sysctl.place()


def test_a_device_that_has_gone_needs_no_setting(root: Path) -> None:
    (root / "ipv4/ip_forward").write_text("0\n")
    sysctl.apply(
        [Change("ipv6/conf/gone/accept_ra", "1", "2"), Change("ipv4/ip_forward", "0", "1")]
    )
    assert (root / "ipv4/ip_forward").read_text() == "1"
    assert not (root / "ipv6/conf/gone").exists()
