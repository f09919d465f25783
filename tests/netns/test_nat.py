"""NAT of a host of a lab, up and down; a veth stands for the TUN."""

import os
import signal
import sys

import msgspec
import pytest
from needs import need
from netns.inside import inside
from netns.nat_lab import NETS, nat_lab
from programs import wait_for

from gateway.errors import HostError
from gateway.linux import nat, nftables, sysctl
from gateway.linux.nat import Masquerade, NatRecord

V4, V6 = sysctl.SWITCHES[4], sysctl.SWITCHES[6]


@pytest.fixture
def lab():
    with nat_lab() as made:
        yield made


@pytest.fixture
def client(lab):
    return lab.clients[0]


def settings(host) -> dict[str, str]:
    lines = host.run("sysctl", "-a", "-r", r"^net\.ipv[46].*(forward|accept_ra)").stdout
    return dict(line.split(" = ", 1) for line in lines.splitlines())


def ruleset(host) -> str:
    return host.run("nft", "list", "ruleset").stdout


def value(host, key: str) -> str:
    return host.run("cat", f"/proc/sys/net/{key}").stdout.strip()


def tunnel_host(lab):
    """A host at the far end of `tun0`, who is 192.168.123.3 and knows no LAN of C1's."""
    other = lab._add("X")
    lab.clients[0].ip(f"link set far netns {other.netns}")
    other.ip(
        "address add 192.168.123.3/24 dev far",
        "address add fd00:123::3/64 dev far nodad",
        "address add 192.168.77.1/24 dev lo",
        "link set far up",
        "route add 192.168.100.0/24 via 192.168.123.2",
        "route add fd00:100::/64 via fd00:123::2",
    )
    return other


def test_up_and_down_leave_nothing(client):
    """Forwarding, table and record; then everything is as it was, to the last sysctl."""
    before = settings(client)
    masquerade = Masquerade("tun0", NETS)
    record = inside(client, masquerade.up)

    assert (masquerade.is_up, masquerade.owned) == (True, True)
    assert value(client, V4) == value(client, V6) == "1"
    assert "flags owner" in ruleset(client)
    assert 'iifname "tun0" oifname != "tun0" masquerade' in ruleset(client)
    assert 'ip saddr 192.168.123.0/24 oifname != "tun0" masquerade' in ruleset(client)
    assert 'ip6 saddr fd00:123::/64 oifname != "tun0" masquerade' in ruleset(client)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=NatRecord) == record

    assert inside(client, masquerade.down) == ()
    assert inside(client, masquerade.down) == ()
    assert ruleset(client) == ""
    assert settings(client) == before


def test_up_again_mends_and_adds_nothing(client):
    masquerade = Masquerade("tun0", NETS)
    record = inside(client, masquerade.up)
    rules = ruleset(client)
    client.run("nft", "flush", "ruleset")
    assert client.run("nft", "delete", "table", "inet", masquerade.table, check=False).returncode
    assert ruleset(client) == rules, "an owned table is nobody else's to flush"

    client.sysctl(ipv4__ip_forward=0)
    assert inside(client, masquerade.up) == record
    assert (ruleset(client), value(client, V4)) == (rules, "1")
    inside(client, masquerade.down)
    assert value(client, V4) == "0"


def test_what_cannot_be_mended_takes_nothing_down(client, monkeypatch):
    """Without a descriptor, say: the table stays, and so does what must be put back."""
    masquerade = Masquerade("tun0", NETS)
    inside(client, masquerade.up)
    rules = ruleset(client)

    def fail(*_):
        raise HostError("no descriptor")

    with monkeypatch.context() as starved:
        starved.setattr(sysctl, "apply", fail)
        with pytest.raises(HostError):
            inside(client, masquerade.up)
        starved.setattr(sysctl, "_read", fail)
        with pytest.raises(HostError):
            inside(client, masquerade.plan)
        assert (masquerade.is_up, ruleset(client)) == (True, rules)
        assert inside(client, masquerade.down) != ()
    assert value(client, V4) == "1"
    assert inside(client, masquerade.down) == ()
    assert value(client, V4) == "0"


def test_without_owners_the_table_is_replaced(client, monkeypatch):
    """Before Linux 5.12: a table that outlives its process, mended and taken over."""
    monkeypatch.setattr(nftables, "TABLE_OWNER", 0x80)  # a flag that no kernel knows
    first = Masquerade("tun0", NETS)
    inside(client, first.up)
    assert not first.owned
    rules = ruleset(client)
    assert "masquerade" in rules

    client.run("nft", "flush", "ruleset")
    inside(client, first.up)
    assert ruleset(client) == rules

    second = Masquerade("tun0", NETS)
    inside(client, second.up)
    assert ruleset(client) == rules
    inside(client, second.down)
    assert ruleset(client) == ""
    first.forget()


def test_an_owned_table_of_another_process_is_named(client):
    first, second = Masquerade("tun0", NETS), Masquerade("tun0", NETS)
    inside(client, first.up)
    with pytest.raises(HostError, match="another instance"):
        inside(client, second.up)
    inside(client, first.down)


def test_other_rules_are_left_alone(client):
    client.run("nft", "add table ip mine { chain c { type filter hook input priority 0; }; }")
    before = ruleset(client)
    masquerade = Masquerade("tun0", NETS)
    inside(client, masquerade.up)
    inside(client, masquerade.down)
    assert ruleset(client) == before


def test_settings_that_stood_apart_come_back(client):
    """A device that forwarded already, and one that takes router advertisements."""
    client.sysctl(ipv4__conf__lan0__forwarding=1, ipv6__conf__lan0__forwarding=1)
    client.sysctl(ipv6__conf__wan0__accept_ra=1, ipv6__conf__tun0__accept_ra=0)
    before = settings(client)
    masquerade = Masquerade("tun0", NETS)
    inside(client, masquerade.up)

    assert value(client, "ipv6/conf/wan0/accept_ra") == "2"
    assert value(client, "ipv6/conf/tun0/accept_ra") == "0"
    inside(client, masquerade.down)
    assert settings(client) == before


def test_what_somebody_changed_since_is_his(client):
    masquerade = Masquerade("tun0", NETS[:1])
    inside(client, masquerade.up)
    client.sysctl(ipv4__ip_forward=0)
    client.sysctl(ipv4__conf__lan0__forwarding=1)
    inside(client, masquerade.down)
    assert value(client, "ipv4/conf/lan0/forwarding") == "1"


def test_a_family_without_net_is_left_alone(client):
    masquerade = Masquerade("tun0", NETS[:1])
    inside(client, masquerade.up)
    assert (value(client, V4), value(client, V6)) == ("1", "0")
    inside(client, masquerade.down)


HOLD = """
import signal, sys
from ipaddress import ip_interface
import msgspec
from gateway.linux import nftables, process
from gateway.linux.nat import Masquerade
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
masquerade = Masquerade("tun0", [ip_interface(text) for text in sys.argv[2:]])
if sys.argv[1] == "nobody":
    process.leave_root("nobody")
    assert process.own_capabilities() == ("net_admin",)
print(msgspec.json.encode(masquerade.up()).decode(), flush=True)
signal.sigwait([signal.SIGTERM])
print(masquerade.down(), flush=True)
"""


def holder(host, user: str):
    """A process that holds the masquerade up, and its record."""
    nets = [str(net) for net in NETS]
    process = host.spawn(sys.executable, "-c", HOLD, user, *nets, environment=dict(os.environ))
    wait_for(lambda: "}\n" in process.output(), 10.0, "the table to be up")
    return process, msgspec.json.decode(process.output(), type=NatRecord)


def test_kill_9_removes_the_table_and_the_next_start_the_rest(client):
    before = settings(client)
    process, record = holder(client, "root")
    assert "masquerade" in ruleset(client)
    process.send(signal.SIGKILL)
    process.wait()

    wait_for(lambda: ruleset(client) == "", 5.0, "the kernel to remove the table")
    assert value(client, V4) == "1"
    assert inside(client, nat.undo, msgspec.structs.replace(record, place="elsewhere")) == ()
    assert value(client, V4) == "1"
    assert inside(client, nat.undo, record) == ()
    assert settings(client) == before


def test_net_admin_is_enough(client):
    """Up and down as nobody with that one capability."""
    before = settings(client)
    process, _ = holder(client, "nobody")
    assert "masquerade" in ruleset(client)
    assert process.stop() == 0
    assert process.output().splitlines()[-1] == "()"
    assert ruleset(client) == ""
    assert settings(client) == before


def test_without_capabilities_the_message_names_them(client):
    program = (
        "from gateway.linux import process\n"
        "from gateway.linux.nat import Masquerade\n"
        "from gateway.errors import HostError\n"
        "masquerade = Masquerade('tun0', [])\n"
        "process.leave_root('nobody', ())\n"
        "try: masquerade.up()\n"
        "except HostError as error: print(error)\n"
    )
    done = client.run(sys.executable, "-c", program)
    assert "CAP_NET_ADMIN is missing" in done.stdout


@pytest.mark.parametrize("code", ["EOPNOTSUPP", "EAFNOSUPPORT", "EPROTONOSUPPORT"])
def test_a_kernel_without_nat_is_named_and_nothing_stays(client, code):
    """As the kernel says it where a module is missing; forwarding is as it was."""
    before = settings(client)
    program = (
        "import errno\n"
        "from ipaddress import ip_interface\n"
        "from gateway.errors import HostError\n"
        "from gateway.linux import nftables\n"
        "from gateway.linux.nat import Masquerade\n"
        f"nftables.run = lambda sock, messages: errno.{code}\n"
        "masquerade = Masquerade('tun0', [ip_interface('192.168.123.2/24')])\n"
        "try: masquerade.up()\n"
        "except HostError as error: print(error)\n"
    )
    done = client.run(sys.executable, "-c", program)
    assert done.stdout.startswith("nat=true: this kernel has no nftables NAT (modules nf_tables")
    assert "iptables rule" in done.stdout
    assert settings(client) == before


def test_hosts_behind_answer_whom_they_do_not_know(lab):
    """From the tunnel, and from a network behind another peer, to the LAN; and no other way."""
    need("ping")
    client, other = lab.clients[0], tunnel_host(lab)
    lab.lan_hosts[1].ip("route del default", "route del default via fd00:100::1")

    def answered(address: str, *more: str) -> bool:
        command = ("ping", "-n", "-c", "1", "-W", "1", *more, address)
        return other.run(*command, check=False).returncode == 0

    client.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
    assert not answered("192.168.100.10")
    masquerade = Masquerade("tun0", NETS)
    inside(client, masquerade.up)
    assert answered("192.168.100.10")
    assert answered("fd00:100::10")
    assert answered("192.168.100.10", "-I", "192.168.77.1") is False, "no way back by tun0"
    client.ip("route add 192.168.77.0/24 via 192.168.123.3")
    assert answered("192.168.100.10", "-I", "192.168.77.1")
    inside(client, masquerade.down)
