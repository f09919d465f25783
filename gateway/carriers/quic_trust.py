"""Who a QUIC end is and whom it believes: the options of `trust`, for another TLS.

The QUIC library brings its own TLS 1.3 and takes no `ssl` context, so keys are read here, as
root and before the fork, and chains are checked here: as `trust` has it, by `caFile` or by the
system's authorities, the name only with `secure`. A certificate that is itself in `caFile`
holds, whoever signed it. All of it is checked when the handshake is over and before a stream
is opened, as with tls.

A listener cannot ask for client certificates: the library's server has no such message.
"""

import datetime as dt
import hashlib
import hmac
import ipaddress
import ssl
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID
from qh3 import QuicConfiguration

from gateway.carriers.stream import CarrierError
from gateway.carriers.trust import VERSIONS, parse_pin

ALPN = ("h3", "quic/v1")
"""What GOST offers and takes, though nothing of HTTP/3 follows."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate with its chain, and its key, both as PEM."""

    chain: bytes
    key: bytes = field(repr=False)

    def put_into(self, configuration: QuicConfiguration) -> None:
        """Have it shown."""
        configuration.load_cert_chain(self.chain, self.key)


@dataclass(frozen=True, slots=True)
class QuicClientTls:
    """What a client shows and checks. `authorities` None: any chain will do."""

    name: str | None
    pin: bytes | None
    verified: bool
    alpn: tuple[str, ...]
    secure: bool = False
    authorities: tuple[x509.Certificate, ...] | None = None
    believed: str = ""
    """Who `authorities` are, for a message."""
    shown: Shown | None = None

    def put_into(self, configuration: QuicConfiguration, host: str) -> None:
        """Set it for a connection to `host`. An IP address is never sent as a name."""
        name = self._wanted(host)
        configuration.server_name = None if _is_address(name) else name
        configuration.alpn_protocols = list(self.alpn)
        configuration.verify_mode = ssl.CERT_NONE  # `refusal` does that
        if self.shown:
            self.shown.put_into(configuration)

    def refusal(self, leaf: bytes | None, chain: Sequence[bytes], host: str) -> str:
        """What is wrong with the certificate (DER) that was shown; empty: nothing."""
        if self.authorities is None and self.pin is None:
            return ""
        if leaf is None:
            return "no certificate was shown"
        found = hashlib.sha256(leaf).digest()
        if self.pin is not None and not hmac.compare_digest(found, self.pin):
            return f"the certificate is sha256:{found.hex()}, pin says sha256:{self.pin.hex()}"
        if self.authorities is None:
            return ""
        try:
            certificate = x509.load_der_x509_certificate(leaf)
            others = [x509.load_der_x509_certificate(one) for one in chain]
            return self._judge(certificate, others, self._wanted(host))
        except verification.VerificationError as error:
            why = str(error).removeprefix("validation failed: ")
            if "no interior errors" in why:
                why = "none of these, or of what was sent with it, has signed it"
            return f"the certificate sha256:{found.hex()} does not hold by {self.believed}: {why}"
        except _ODD as error:
            return f"the certificate does not hold: {error}"

    def _wanted(self, host: str) -> str:
        return self.name or host.partition("%")[0]

    def _judge(self, leaf: x509.Certificate, chain: list[x509.Certificate], name: str) -> str:
        known = list(self.authorities or ())
        now = dt.datetime.now(dt.UTC)
        if leaf not in known:
            builder = verification.PolicyBuilder().store(verification.Store(known)).time(now)
            policies = builder.extension_policies(ca_policy=_ISSUERS, ee_policy=_SERVERS)
            policies.build_client_verifier().verify(leaf, chain)
        elif not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
            return "the certificate does not hold: it has expired, or is not valid yet"
        if self.secure and not _is_named(leaf, name):
            return f"the certificate does not hold: it is not for {name} (secure=true)"
        return ""


@dataclass(frozen=True, slots=True)
class QuicServerTls:
    """What a server shows."""

    shown: Shown
    alpn: tuple[str, ...]
    verified: bool = False

    def put_into(self, configuration: QuicConfiguration) -> None:
        """Set it for a server's connections."""
        configuration.alpn_protocols = list(self.alpn)
        self.shown.put_into(configuration)


def client_tls(
    *,
    secure: bool = False,
    server_name: str | None = None,
    ca_file: str | Path | None = None,
    cert_file: str | Path | None = None,
    key_file: str | Path | None = None,
    pin: str | None = None,
    alpn: Sequence[str] = (),
    min_version: str | None = None,
    max_version: str | None = None,
    cipher_suites: Sequence[str] = (),  # noqa: ARG001 - TLS 1.3 has its own
) -> QuicClientTls:
    """A client's TLS: `trust.client_tls` for QUIC, which is TLS 1.3 always.

    Raises:
        CarrierError: A file cannot be used, or a value is unknown.
    """
    _check_versions(min_version, max_version)
    authorities = None
    if ca_file:
        authorities = _authorities(ca_file)
    elif secure:
        authorities = _system_authorities()
    return QuicClientTls(
        name=server_name,
        pin=parse_pin(pin) if pin else None,
        verified=bool(secure or ca_file or pin),
        alpn=tuple(alpn) or ALPN,
        secure=secure,
        authorities=authorities,
        believed=f"caFile={ca_file}" if ca_file else "the system's authorities (secure=true)",
        shown=_shown(cert_file, key_file) if cert_file else None,
    )


def server_tls(
    *,
    cert_file: str | Path,
    key_file: str | Path | None = None,
    ca_file: str | Path | None = None,
    alpn: Sequence[str] = (),
    min_version: str | None = None,
    max_version: str | None = None,
    cipher_suites: Sequence[str] = (),  # noqa: ARG001 - TLS 1.3 has its own
    reject_unknown_sni: bool = False,
    server_names: Sequence[str] = (),  # noqa: ARG001 - of use with the former only
) -> QuicServerTls:
    """A server's TLS: `trust.server_tls` for QUIC, without what it cannot do.

    Raises:
        CarrierError: A file cannot be used, or a value is unknown or cannot be had.
    """
    _check_versions(min_version, max_version)
    if ca_file:
        raise CarrierError(
            f"caFile={ca_file}: a quic listener cannot ask for client certificates;"
            " use an auther, or tls, wss or grpc"
        )
    if reject_unknown_sni:
        raise CarrierError("rejectUnknownSNI: a quic listener cannot; use tls, wss or grpc")
    return QuicServerTls(_shown(cert_file, key_file), tuple(alpn) or ALPN)


def _check_versions(least: str | None, most: str | None) -> None:
    for option, text in (("minVersion", least), ("maxVersion", most)):
        if text and text.lower() not in VERSIONS:
            raise CarrierError(f"{option}={text}: expected VersionTLS10 to VersionTLS13")
    if most and most.lower() != "versiontls13":
        raise CarrierError(f"maxVersion={most}: quic is TLS 1.3: leave it away")


def _shown(cert_file: str | Path, key_file: str | Path | None) -> Shown:
    places = f"certFile={cert_file}" + (f", keyFile={key_file}" if key_file else "")
    try:
        pem = Path(cert_file).read_bytes()
        key = serialization.load_pem_private_key(
            Path(key_file).read_bytes() if key_file else pem, password=None
        )
        certificates = x509.load_pem_x509_certificates(pem)
        same = _public(key.public_key()) == _public(certificates[0].public_key())
    except OSError as error:
        raise CarrierError(f"{places}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, TypeError) as error:  # TypeError: there is a password
        text = f"{places}: expected a PEM certificate and its key, which has no password"
        raise CarrierError(text) from error
    if not same:
        raise CarrierError(f"{places}: the key is not the certificate's")
    chain = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Shown(chain, private)


def _public(key: object) -> bytes:
    if not hasattr(key, "public_bytes"):
        raise ValueError("no key for certificates")
    found: bytes = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return found


def _authorities(ca_file: str | Path) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(Path(ca_file).read_bytes()))
    except OSError as error:
        text = (error.strerror or str(error)).lower()
        raise CarrierError(f"caFile={ca_file}: {text}") from error
    except ValueError as error:
        raise CarrierError(f"caFile={ca_file}: expected certificates, as PEM") from error


def _system_authorities() -> tuple[x509.Certificate, ...]:
    """Those OpenSSL would believe: one file of all, or a folder with a file for each."""
    paths = ssl.get_default_verify_paths()
    files = [Path(paths.cafile)] if paths.cafile else []
    if not files and paths.capath:
        files = sorted(Path(paths.capath).glob("*.[0-9]"))
    found: list[x509.Certificate] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of them are not as they should be
        for file in files:
            # One of many: who is not read is not believed.
            with suppress(OSError, ValueError):
                found += x509.load_pem_x509_certificates(file.read_bytes())
    if not found:
        raise CarrierError("secure=true: this host has no authorities; say which by ca=")
    return tuple(found)


def _is_named(certificate: x509.Certificate, name: str) -> bool:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    if _is_address(name):
        return ipaddress.ip_address(name) in names.get_values_for_type(x509.IPAddress)
    wanted = name.lower().rstrip(".")
    known = [each.lower() for each in names.get_values_for_type(x509.DNSName)]
    return wanted in known or f"*.{wanted.partition('.')[2]}" in known


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_issuer(_policy: object, _certificate: object, found: x509.BasicConstraints) -> None:
    if not found.ca:
        raise ValueError("who signed it is no authority")


def _may_issue(_policy: object, _certificate: object, found: x509.KeyUsage | None) -> None:
    if found is not None and not found.key_cert_sign:
        raise ValueError("who signed it may sign no certificates")


def _may_serve(_policy: object, _certificate: object, found: x509.ExtendedKeyUsage | None) -> None:
    if found is not None and not {_USE.SERVER_AUTH, _USE.ANY_EXTENDED_KEY_USAGE} & set(found):
        raise ValueError("it is not for servers")


_ODD = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What is raised on a certificate that cannot be read."""

_USE = ExtendedKeyUsageOID
_EITHER = verification.Criticality.AGNOSTIC
_ISSUERS = (
    verification.ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, _EITHER, _is_issuer)
    .may_be_present(x509.KeyUsage, _EITHER, _may_issue)
)
_SERVERS = verification.ExtensionPolicy.permit_all().may_be_present(
    x509.ExtendedKeyUsage, _EITHER, _may_serve
)
"""As OpenSSL judges, which is what the other carriers have: no more than what matters."""
