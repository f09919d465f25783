"""Who a TLS end is and whom it believes: options to `ssl` contexts.

Contexts are made where the files can be read, before root is left, and survive a fork. The
names of versions and cipher suites are GOST's, which are Go's.
"""

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.carriers.stream import CarrierError

VERSIONS = {
    "versiontls10": ssl.TLSVersion.TLSv1,
    "versiontls11": ssl.TLSVersion.TLSv1_1,
    "versiontls12": ssl.TLSVersion.TLSv1_2,
    "versiontls13": ssl.TLSVersion.TLSv1_3,
}

_PIN = re.compile(r"sha256:((?:[0-9a-f]{2}:?){31}[0-9a-f]{2})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ClientTls:
    """What a client shows and checks.

    `name` is what the server is asked for (SNI) and must be; None: the host that is dialled.
    """

    context: ssl.SSLContext = field(repr=False)
    name: str | None
    pin: bytes | None
    verified: bool

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, host: str) -> ssl.SSLObject:
        """The client's end. An IP address is checked but never sent as a name (RFC 6066)."""
        name = self.name or host.partition("%")[0] or None
        return self.context.wrap_bio(incoming, outgoing, server_hostname=name)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What a server shows. `verified`: clients must show a certificate too."""

    context: ssl.SSLContext = field(repr=False)
    verified: bool

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, _host: str) -> ssl.SSLObject:
        """The server's end."""
        return self.context.wrap_bio(incoming, outgoing, server_side=True)


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
    cipher_suites: Sequence[str] = (),
) -> ClientTls:
    """A client's TLS, which verifies nothing unless it is told to.

    `secure`: the chain (by `ca_file`, else by the system's authorities) and the name;
    `ca_file` alone: the chain; `pin`: the very certificate, whoever signed it.

    Raises:
        CarrierError: A file cannot be used, or a value is unknown.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = secure
    context.verify_mode = ssl.CERT_REQUIRED if secure or ca_file else ssl.CERT_NONE
    if ca_file:
        _trust(context, ca_file)
    elif secure:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if cert_file:
        _show(context, cert_file, key_file)
    _restrict(context, alpn, min_version, max_version, cipher_suites)
    digest = parse_pin(pin) if pin else None
    return ClientTls(context, server_name, digest, bool(secure or ca_file or digest))


def server_tls(
    *,
    cert_file: str | Path,
    key_file: str | Path | None = None,
    ca_file: str | Path | None = None,
    alpn: Sequence[str] = (),
    min_version: str | None = None,
    max_version: str | None = None,
    cipher_suites: Sequence[str] = (),
    reject_unknown_sni: bool = False,
    server_names: Sequence[str] = (),
) -> ServerTls:
    """A server's TLS. With `ca_file` clients need a certificate that it signed.

    `reject_unknown_sni`: who names no server is refused, and who names one that is not in
    `server_names`, if there are any.

    Raises:
        CarrierError: A file cannot be used, or a value is unknown.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0  # nobody resumes
    _show(context, cert_file, key_file)
    if ca_file:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context, ca_file)
    _restrict(context, alpn, min_version, max_version, cipher_suites)
    if reject_unknown_sni:
        _guard_names(context, frozenset(name.lower() for name in server_names))
    return ServerTls(context, bool(ca_file))


def parse_pin(text: str) -> bytes:
    """`sha256:` and 64 hex digits, colons allowed, to 32 bytes."""
    found = _PIN.fullmatch(text.strip())
    if not found:
        raise CarrierError(f"pin={text}: expected sha256: and 64 hexadecimal digits")
    return bytes.fromhex(found[1].replace(":", ""))


def _trust(context: ssl.SSLContext, ca_file: str | Path) -> None:
    # As Go does: what the file holds is believed, root or not.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        raise CarrierError(f"caFile={ca_file}: {_why(error, 'certificates, as PEM')}") from error


def _show(context: ssl.SSLContext, cert_file: str | Path, key_file: str | Path | None) -> None:
    places = f"certFile={cert_file}" + (f", keyFile={key_file}" if key_file else "")
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except (OSError, ValueError) as error:
        wanted = "a PEM certificate and its key, which has no password"
        raise CarrierError(f"{places}: {_why(error, wanted)}") from error


def _no_password() -> str:
    """Else OpenSSL would ask on the terminal."""
    return ""


def _why(error: Exception, wanted: str) -> str:
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return f"expected {wanted}"
    return (error.strerror or str(error)).lower()


def _restrict(
    context: ssl.SSLContext,
    alpn: Sequence[str],
    min_version: str | None,
    max_version: str | None,
    cipher_suites: Sequence[str],
) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if min_version:
        context.minimum_version = _version("minVersion", min_version)
    if max_version:
        context.maximum_version = _version("maxVersion", max_version)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    # TLS 1.3 has its own, which Go does not let anyone choose either.
    chosen = [name for name in cipher_suites if "_WITH_" in name.upper()]
    if not chosen:
        return
    try:
        context.set_ciphers(":".join(openssl_name(name) for name in chosen))
    except ssl.SSLError as error:
        names = ",".join(chosen)
        raise CarrierError(f"cipherSuites={names}: none that this host's OpenSSL has") from error


def _version(option: str, text: str) -> ssl.TLSVersion:
    found = VERSIONS.get(text.lower())
    if found is None:
        raise CarrierError(f"{option}={text}: expected VersionTLS10 to VersionTLS13")
    return found


def openssl_name(suite: str) -> str:
    """TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 to ECDHE-RSA-AES128-GCM-SHA256.

    The names of Go's list for TLS 1.2 and before (crypto/tls, ciphersuites).
    """
    exchange, _, cipher = suite.upper().removeprefix("TLS_").partition("_WITH_")
    if cipher.startswith("CHACHA20"):
        cipher = "CHACHA20_POLY1305"
    cipher = cipher.replace("3DES_EDE_CBC", "DES_CBC3").replace("AES_", "AES")
    cipher = cipher.replace("_CBC", "") if "AES" in cipher else cipher
    prefix = "" if exchange == "RSA" else f"{exchange}_"
    return f"{prefix}{cipher}".replace("_", "-")


def _guard_names(context: ssl.SSLContext, known: frozenset[str]) -> None:
    def check(_object: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
        if name and (not known or name.lower() in known):
            return None
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context.sni_callback = check
