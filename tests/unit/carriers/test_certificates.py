"""The certificate a server makes for itself: kept, private, and what clients pin."""

import datetime as dt
import hashlib
import ssl
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from gateway.carriers import certificates
from gateway.carriers.certificates import fingerprint, kept, make
from gateway.carriers.stream import CarrierError
from gateway.carriers.trust import parse_pin, server_tls

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def test_it_is_made_once_and_found_again(tmp_path) -> None:
    first = kept(tmp_path)
    again = kept(tmp_path, common_name="other.test")
    assert first.made
    assert not again.made
    assert (first.file, first.fingerprint) == (again.file, again.fingerprint)
    assert [file.name for file in tmp_path.iterdir()] == [first.file.name]
    server_tls(cert_file=first.file)


def test_only_its_owner_reads_it(tmp_path) -> None:
    assert kept(tmp_path).file.stat().st_mode & 0o777 == 0o600


LATE = """
import sys
from pathlib import Path
from gateway.carriers.certificates import kept
before = set(sys.modules)
kept(Path(sys.argv[1]))
print(*(set(sys.modules) - before))
"""


def test_nothing_is_imported_late(tmp_path) -> None:
    """Whoever makes it has left root, and may not reach the folder of the packages."""
    command = [sys.executable, "-c", LATE, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == []


def test_two_are_never_the_same(tmp_path) -> None:
    assert fingerprint(make(NOW)) != fingerprint(make(NOW))


def test_it_says_what_it_was_told(tmp_path) -> None:
    found = kept(
        tmp_path,
        validity=dt.timedelta(days=2),
        common_name="vpn.test",
        organization="Us",
        now=NOW,
    )
    assert found.expires == NOW + dt.timedelta(days=2)
    certificate = x509.load_pem_x509_certificate(found.file.read_bytes())
    names = {name.oid: name.value for name in certificate.subject}
    assert names == {NameOID.COMMON_NAME: "vpn.test", NameOID.ORGANIZATION_NAME: "Us"}
    assert certificate.issuer == certificate.subject
    known = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert known.get_values_for_type(x509.DNSName) == ["vpn.test"]


def test_the_names_are_those_of_gost_unless_told() -> None:
    certificate = x509.load_pem_x509_certificate(make(NOW))
    assert certificate.subject.rfc4514_string() == "CN=gost.run,O=GOST"


def test_an_old_one_stays_since_somebody_may_have_pinned_it(tmp_path) -> None:
    old = kept(tmp_path, now=NOW - dt.timedelta(days=9000))
    again = kept(tmp_path, now=NOW)
    assert again.fingerprint == old.fingerprint
    assert again.expires < NOW


def test_the_fingerprint_is_what_a_pin_takes(tmp_path) -> None:
    found = kept(tmp_path)
    der = ssl.PEM_cert_to_DER_cert(x509_text(found.file.read_bytes()))
    assert parse_pin(found.fingerprint) == hashlib.sha256(der).digest()


def x509_text(pem: bytes) -> str:
    return pem[pem.index(b"-----BEGIN CERTIFICATE") :].decode()


@pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_something_else_in_its_place_is_left_alone(tmp_path, content) -> None:
    file = tmp_path / certificates.FILE
    file.write_bytes(content)
    with pytest.raises(CarrierError, match=f"{certificates.FILE}: expected a certificate"):
        kept(tmp_path)
    assert file.read_bytes() == content


def test_no_directory_is_an_error_that_names_it(tmp_path) -> None:
    with pytest.raises(CarrierError, match=r"gone/certificate\.pem: No such file"):
        kept(tmp_path / "gone")
