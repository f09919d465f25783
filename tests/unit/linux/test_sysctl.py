"""What a record from the disk may change."""

from pathlib import Path

import pytest

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
