"""Secrets do not show."""

from ipaddress import ip_interface

import msgspec

from gateway.config.model import Config, Credential, Secret, Service
from gateway.protocol.forwarding import Role

SERVICE = Service(
    name="hub",
    role=Role.SERVER,
    host="",
    port=8421,
    targets=(),
    nets=(ip_interface("192.168.123.1/24"),),
    passphrase=b"geheim",
    credentials=(Credential("192.168.123.2", b"geheim"),),
)


def test_no_text_of_a_configuration_shows_a_secret():
    config = Config(services=(SERVICE,), instance="x")
    for text in (repr(config), str(config), f"{config}", f"{SERVICE.passphrase}"):
        assert "geheim" not in text
    assert "***" in repr(SERVICE.credentials)
    assert f"{SERVICE.passphrase!r:>14}" == "   Secret(***)"
    assert repr(Secret(b"")) == "Secret()"


def test_a_secret_is_the_bytes_it_was():
    assert SERVICE.passphrase == b"geheim"
    assert len(SERVICE.passphrase) == 6
    assert Credential("a", b"b") == Credential("a", Secret(b"b"))


def test_a_changed_copy_hides_it_too():
    copy = msgspec.structs.replace(SERVICE, passphrase=b"geheim2")
    assert "geheim" not in repr(copy)
