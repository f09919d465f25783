"""The lab itself, where the host is a chroot."""

import hosts
import pytest


@pytest.mark.smoke
@pytest.mark.parametrize("own_root", [True, False])
def test_a_host_is_entered(network, monkeypatch, own_root):
    host = network(1).lab.clients[0]
    assert hosts.own_root() == (host.argv(["true"])[0] == "ip")
    monkeypatch.setattr(hosts, "own_root", lambda: own_root)
    assert (host.argv(["true"])[0] == "ip") is own_root
    assert set(host.devices()) == {"lo", "wan0"}
    assert host.ipv4 in host.run("ip", "-4", "address", "show", "wan0").stdout
