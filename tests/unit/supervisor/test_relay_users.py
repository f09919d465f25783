"""Who may use a relay listener."""

from ipaddress import ip_address

import pytest

from gateway.config.chain_model import RelayUser
from gateway.config.model import AutherSpec, Credential, FileSpec
from gateway.protocol.packet import pack_address
from gateway.supervisor.admission import digest_of, new_key
from gateway.supervisor.authers import Authers
from gateway.supervisor.relay_users import RelayUsers, address_of

KEY = new_key()


@pytest.mark.parametrize(
    ("username", "password", "verdict"),
    [
        (b"alice", b"secret of alice, longer than 16", "yes"),
        (b"alice", b"secret of alice, longer", "no"),
        (b"bob", b"one", "yes"),
        (b"bob", b"two", "yes"),
        (b"bob", b"", "no"),
        (b"eve", b"one", "no"),
        (b"", b"", "no"),
    ],
)
def test_names_and_passwords(username, password, verdict):
    users = [
        RelayUser(b"alice", b"secret of alice, longer than 16"),
        RelayUser(b"bob", b"one"),
        RelayUser(b"bob", b"two"),
    ]
    assert RelayUsers(users, KEY).judge(username, password) == verdict


def test_without_users_everybody_and_with_none_of_them_nobody():
    assert RelayUsers(None, KEY).judge(b"", b"") == "yes"
    assert not RelayUsers(None, KEY).auth
    assert RelayUsers((), KEY).judge(b"", b"") == "no"


def test_a_table_knows_its_users_by_tunnel_address():
    inline = (Credential("10.0.0.2", b"pass"),)
    spec = AutherSpec("staff", inline=inline, file=FileSpec("/nowhere"))
    authers = Authers([spec], lambda password: digest_of(password, KEY), 0.0)
    users = RelayUsers((), KEY, authers.of([spec]))
    assert users.judge(b"10.0.0.2", b"pass") == "yes"
    assert users.judge(b"10.0.0.2", b"other") == "no"
    assert users.judge(b"10.0.0.3", b"pass") == "no"
    assert users.judge(b"staff", b"pass") == "no"


def test_a_forgotten_list_lets_nobody_in():
    users = RelayUsers([RelayUser(b"a", bytes(bytearray(b"password")))], KEY)
    users.forget()
    assert users.judge(b"a", b"password") == "no"


def test_names_that_are_addresses():
    assert address_of(b"10.0.0.2") == pack_address(ip_address("10.0.0.2"))
    for name in (b"alice", b"\xff", b""):
        assert address_of(name) is None
