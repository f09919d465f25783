"""A server's own certificate, made when none is given, and kept.

It is self-signed: nobody but a client with `pin=` can tell it from another one. So it has to
outlive restarts, and for as long as somebody pins it. GOST makes one for a year, and anew
when its file is gone.
"""

import datetime as dt
import hashlib
import os
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

# Imported by what signs, at that moment; then we may be somebody who cannot read root's files.
import cryptography.hazmat.backends.openssl.backend  # noqa: F401
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.carriers.stream import CarrierError

FILE = "certificate.pem"
VALIDITY = dt.timedelta(days=3650)
COMMON_NAME = "gost.run"
ORGANIZATION = "GOST"
"""The names that GOST gives; a client that verifies nothing reads neither."""

_USES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_CLOCKS_DIFFER = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Kept:
    """A certificate and its key in one file, and what a client pins."""

    file: Path
    fingerprint: str
    expires: dt.datetime
    made: bool = field(default=False)
    """It is new: clients that pinned another one will refuse it."""


def kept(
    directory: Path,
    *,
    validity: dt.timedelta = VALIDITY,
    common_name: str = COMMON_NAME,
    organization: str = ORGANIZATION,
    now: dt.datetime | None = None,
) -> Kept:
    """The certificate in `directory`, made with these options if there is none.

    One that has run out stays: who pins it does not look at dates, and a new one would lock
    him out. Its `expires` lets the caller warn.

    Raises:
        CarrierError: The file holds something else, or cannot be read or written.
    """
    file = directory / FILE
    try:
        pem = file.read_bytes()
    except FileNotFoundError:
        moment = now or dt.datetime.now(dt.UTC)
        pem = make(moment, validity, common_name, organization)
        _write(file, pem)
        return _described(file, pem, made=True)
    except OSError as error:
        raise CarrierError(f"{file}: {error.strerror}") from error
    return _described(file, pem, made=False)


def make(
    now: dt.datetime,
    validity: dt.timedelta = VALIDITY,
    common_name: str = COMMON_NAME,
    organization: str = ORGANIZATION,
) -> bytes:
    """A new key (P-256) and its self-signed certificate, both as PEM, the key first."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [(NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common_name)]
    name = x509.Name([x509.NameAttribute(oid, text) for oid, text in names if text])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + validity)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(list(_USES)), critical=False)
    )
    if common_name:
        alternative = x509.SubjectAlternativeName([x509.DNSName(common_name)])
        builder = builder.add_extension(alternative, critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def fingerprint(pem: bytes) -> str:
    """Of the first certificate in `pem`, as `pin` takes it: sha256:HEX over its DER."""
    text = pem.decode("ascii", "replace")
    start = text.index(ssl.PEM_HEADER)
    end = text.index(ssl.PEM_FOOTER, start) + len(ssl.PEM_FOOTER)
    der = ssl.PEM_cert_to_DER_cert(text[start:end])
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def _described(file: Path, pem: bytes, *, made: bool) -> Kept:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        return Kept(file, fingerprint(pem), certificate.not_valid_after_utc, made)
    except ValueError as error:
        raise CarrierError(f"{file}: expected a certificate and its key, as PEM") from error


def _write(file: Path, pem: bytes) -> None:
    """Whole or not at all, and readable by nobody else from the first byte on."""
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=file.parent)  # mode 0600
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(pem)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(file)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise CarrierError(f"{file}: {error.strerror}") from error
