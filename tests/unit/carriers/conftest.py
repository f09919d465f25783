"""Certificates for the ends of a test: an authority, and what it signed."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.carriers import certificates


@dataclass(frozen=True)
class Papers:
    """Files: the authority's certificate, one for `server.test` and a client's."""

    authority: Path
    server: Path
    client: Path
    stranger: Path

    @property
    def pin(self) -> str:
        return certificates.fingerprint(self.server.read_bytes())


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("papers")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
    authority = folder / "authority.pem"
    authority.write_bytes(_pem(_certificate(name, name, key, key, ca=True)))
    for common in ("server.test", "client"):
        own = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
        signed = _certificate(subject, name, own, key, ca=False, dns=common)
        (folder / common).write_bytes(_pem(signed) + _private(own))
    stranger = folder / "stranger.pem"
    stranger.write_bytes(certificates.make(dt.datetime.now(dt.UTC)))
    return Papers(authority, folder / "server.test", folder / "client", stranger)


def _certificate(subject, issuer, key, signer, *, ca, dns=""):
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if dns:
        names = [x509.DNSName(dns)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _pem(certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
