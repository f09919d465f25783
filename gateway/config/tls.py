"""What is said of TLS at either end of a carrier."""

import re

from gateway.config import shape
from gateway.config.chain_model import ClientTlsSpec, ServerTlsSpec
from gateway.config.option import nearest
from gateway.config.section import Values
from gateway.config.tree import Entry, Report, Scalar, items_of
from gateway.config.values import BadValueError, boolean, printable, shown, text

CLIENT = shape.of("certFile keyFile caFile secure serverName pin options")
SERVER = shape.of("certFile keyFile caFile rejectUnknownSNI serverNames options",
                  useless="secure serverName")  # fmt: skip
OPTIONS = shape.of("minVersion maxVersion cipherSuites alpn")
VERSIONS = ("VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13")

LEAST_VERSION = "VersionTLS12"
"""Unless something else is said."""

_EXCHANGES = ("RSA", "ECDHE_RSA", "ECDHE_ECDSA")
_CIPHERS = (
    "RC4_128_SHA", "3DES_EDE_CBC_SHA", "AES_128_CBC_SHA", "AES_256_CBC_SHA",
    "AES_128_CBC_SHA256", "AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256",
)  # fmt: skip
SUITES = frozenset(
    {
        "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
        *(f"TLS_{exchange}_WITH_{cipher}" for exchange in _EXCHANGES for cipher in _CIPHERS),
    }
)  # fmt: skip
"""As Go (crypto/tls) spells them. GOST passes over what it does not know."""

_PIN = re.compile(r"sha256:(?:[0-9a-f]{2}:?){31}[0-9a-f]{2}", re.IGNORECASE | re.ASCII)


def client_tls_of(dialer: dict[str, Entry], host: str, place: str, report: Report) -> ClientTlsSpec:
    """A dialler's. `host` is the node's, which the server is asked for if nothing else is said."""
    found, options = _sections(dialer, "dialer.tls", CLIENT, report)
    given = Values(found, "dialer.tls", place, report)
    more = Values(options, "dialer.tls.options", place, report)
    cert, key = _pair(given, place, report)
    least, most = _versions(more, place, report)
    return ClientTlsSpec(
        server_name=given.get("servername", printable, host),
        secure=given.get("secure", boolean, False),
        ca_file=given.get("cafile", printable, None),
        cert_file=cert,
        key_file=key,
        pin=given.get("pin", _pin, None),
        alpn=_words(options, "alpn", report),
        min_version=least,
        max_version=most,
        cipher_suites=_suites(options, more.where, report),
    )


def server_tls_of(listener: dict[str, Entry], place: str, report: Report) -> ServerTlsSpec:
    """A listener's."""
    found, options = _sections(listener, "listener.tls", SERVER, report)
    given = Values(found, "listener.tls", place, report)
    more = Values(options, "listener.tls.options", place, report)
    cert, key = _pair(given, place, report)
    least, most = _versions(more, place, report)
    return ServerTlsSpec(
        cert_file=cert,
        key_file=key,
        ca_file=given.get("cafile", printable, None),
        alpn=_words(options, "alpn", report),
        min_version=least,
        max_version=most,
        cipher_suites=_suites(options, more.where, report),
        reject_unknown_sni=given.get("rejectunknownsni", boolean, False),
        server_names=_words(found, "servernames", report),
    )


def refuse_tls(end: dict[str, Entry], name: str, carrier: str, report: Report) -> None:
    """TLS options of a carrier that has none would be believed to protect."""
    if "tls" in end and not end["tls"].node.is_empty:
        text_ = f"{name}.tls: {carrier} is not over TLS: leave this out, or choose another carrier"
        report.error(end["tls"].place, text_)


def _sections(
    end: dict[str, Entry], where: str, known: shape.Shape, report: Report
) -> tuple[dict[str, Entry], dict[str, Entry]]:
    found = shape.entries_of(end["tls"].node, known, where, report) if "tls" in end else {}
    options: dict[str, Entry] = {}
    if "options" in found:
        options = shape.entries_of(found["options"].node, OPTIONS, f"{where}.options", report)
    return found, options


def _pair(given: Values, place: str, report: Report) -> tuple[str | None, str | None]:
    cert = given.get("certfile", printable, None)
    key = given.get("keyfile", printable, None)
    if key is not None and cert is None:
        report.error(place, f"{given.where}.keyFile: has no use without certFile")
    return cert, key


def _versions(given: Values, place: str, report: Report) -> tuple[str | None, str | None]:
    """The least and the most, of which something must be left."""
    least = given.get("minversion", _version, None)
    most = given.get("maxversion", _version, None)
    if most is not None and VERSIONS.index(most) < VERSIONS.index(least or LEAST_VERSION):
        than = least or f"{LEAST_VERSION}, the least unless minVersion says another"
        report.error(place, f"{given.where}.maxVersion: {most} is less than {than}")
    return least, most


def _suites(found: dict[str, Entry], where: str, report: Report) -> tuple[str, ...]:
    words = _words(found, "ciphersuites", report)
    for word in words:
        if word.upper() not in SUITES:
            near = nearest(word.upper(), sorted(SUITES))
            hint = f"did you mean {near}?" if near else "write names of Go's crypto/tls"
            place, name = found["ciphersuites"].place, found["ciphersuites"].key
            report.error(place, f"{where}.{name}: there is no suite {shown(word)}: {hint}")
    return words


def _words(found: dict[str, Entry], key: str, report: Report) -> tuple[str, ...]:
    """A list, or a text with commas."""
    if key not in found or found[key].node.is_empty:
        return ()
    node = found[key].node
    items = items_of(node, key, report) if isinstance(node.value, tuple) else (node,)
    words: list[str] = []
    for item in items:
        if isinstance(item.value, dict | tuple):
            report.error(item.place, f"{found[key].key}: expected a list of words")
            continue
        words += [word for word in map(str.strip, text(item.value).split(",")) if word]
    return tuple(words)


def _version(value: Scalar) -> str:
    word = text(value)
    for version in VERSIONS:
        if word.lower() == version.lower():
            return version
    raise BadValueError(f"{shown(word)} is no version of TLS: write {', '.join(VERSIONS)}")


def _pin(value: Scalar) -> str:
    word = text(value).strip()
    if not _PIN.fullmatch(word):
        advice = "write sha256: and the 64 hexadecimal digits that the server prints"
        raise BadValueError(f"{shown(word)} is no pin: {advice}")
    return word
