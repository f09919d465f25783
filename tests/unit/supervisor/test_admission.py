from ipaddress import ip_address, ip_interface

from gateway.config.model import Credential
from gateway.protocol.forwarding import Refusal
from gateway.protocol.packet import pack_address
from gateway.protocol.peer import PeerRecord
from gateway.supervisor.admission import Admission

NETS = (ip_interface("192.168.123.1/24"), ip_interface("fd00::1/64"))
KEY = bytes(range(32))
CREDENTIALS = (
    Credential("192.168.123.2", b"userpass1"),
    Credential("192.168.123.2", b"another"),
    Credential("fd00::2", b"userpass1"),
    Credential("192.168.123.3", b"userpass3"),
)


def a16(*texts: str) -> tuple[bytes, ...]:
    return tuple(pack_address(ip_address(text)) for text in texts)


def refusal(admission: Admission, passphrase: bytes, *addresses: str) -> Refusal | None:
    found = admission.refusal(a16(*addresses), passphrase)
    return found[0] if found else None


def test_every_address_must_pass() -> None:
    """One right address does not help another."""
    admission = Admission(NETS, CREDENTIALS, KEY)

    assert refusal(admission, b"userpass1", "192.168.123.2", "fd00::2") is None
    assert refusal(admission, b"another", "192.168.123.2") is None
    assert refusal(admission, b"another", "192.168.123.2", "fd00::2") is Refusal.WRONG_PASSPHRASE
    assert refusal(admission, b"userpass1", "192.168.123.9") is Refusal.UNKNOWN_ADDRESS
    assert refusal(admission, b"", "192.168.123.2") is Refusal.WRONG_PASSPHRASE


def test_claims_come_first() -> None:
    """What nobody may have is refused with auth on and off."""
    for credentials in (None, CREDENTIALS):
        admission = Admission(NETS, credentials, KEY)

        assert refusal(admission, b"x", "192.168.123.1") is Refusal.OWN_ADDRESS
        assert refusal(admission, b"x", "10.0.0.1") is Refusal.OUTSIDE_NET


def test_no_credentials_at_all_lets_nobody_in() -> None:
    """Auth on with an empty list fails closed; auth off is None."""
    assert refusal(Admission(NETS, (), KEY), b"", "192.168.123.2") is Refusal.UNKNOWN_ADDRESS
    assert refusal(Admission(NETS, None, KEY), b"", "192.168.123.2") is None


def test_the_sentence_names_the_addresses_and_no_passphrase() -> None:
    admission = Admission(NETS, CREDENTIALS, KEY)
    claim = [pack_address(ip_address("192.168.123.2"))]
    _, wrong = admission.refusal(claim, b"hunter2")
    assert wrong == "the passphrase is not that of 192.168.123.2"
    _, unknown = admission.refusal([pack_address(ip_address("192.168.123.77"))], b"hunter2")
    assert unknown == "no credential names 192.168.123.77"


def test_restored_peers_are_checked_again() -> None:
    """By digest, against today's credentials."""
    admission = Admission(NETS, CREDENTIALS, KEY)
    good = admission.digest(b"userpass3")

    assert admission.accepts_again(record(good, "192.168.123.3"))
    assert not admission.accepts_again(record(good, "192.168.123.2"))
    assert not admission.accepts_again(record(b"", "192.168.123.3"))
    assert not admission.accepts_again(record(good, "10.0.0.1"))
    assert Admission(NETS, None, KEY).accepts_again(record(b"", "192.168.123.3"))


def test_forgetting_wipes() -> None:
    """The passwords themselves are overwritten."""
    password = bytes(bytearray(b"userpass1"))
    admission = Admission(NETS, (Credential("192.168.123.2", password),), bytes(bytearray(KEY)))
    admission.forget()

    assert refusal(admission, b"userpass1", "192.168.123.2") is Refusal.UNKNOWN_ADDRESS


def record(credential: bytes, *addresses: str) -> PeerRecord:
    [somewhere] = a16("203.0.113.1")
    return PeerRecord(
        addresses=a16(*addresses),
        address=somewhere,
        port=1,
        scope=0,
        local=bytes(16),
        credential=credential,
        age=1.0,
        silence=1.0,
        left=30.0,
        gaps=(),
        lease_heartbeats=1,
        heartbeats=1,
        moves=0,
    )
