"""TLS towards plugins: whom to trust, and who we are, by files (PEM).

As in GOST: without `verify` nothing is checked, but with a CA of its own the chain is, and
only the name is not.
"""

import ssl

from gateway.sources.errors import SourceError, system_reason
from gateway.sources.model import PluginSpec


def context_of(spec: PluginSpec) -> ssl.SSLContext | bool:
    """What aiohttp takes; True and False where no file is named. Blocks; raises SourceError."""
    if not spec.ca_file and not spec.cert_file:
        return spec.verify
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = spec.verify
    if not spec.verify and not spec.ca_file:
        context.verify_mode = ssl.CERT_NONE
    if spec.ca_file:
        _trust(context, spec.ca_file)
    elif spec.verify:
        context.load_default_certs()
    if spec.cert_file:
        _show(context, spec.cert_file, spec.key_file)
    return context


def _trust(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise SourceError(f"caFile {path}: there is no certificate in it") from None
    except OSError as error:
        raise SourceError(f"caFile {path} cannot be read: {system_reason(error)}") from None


def _show(context: ssl.SSLContext, certificate: str, key: str) -> None:
    try:
        context.load_cert_chain(certificate, key or None, _no_password)
    except ssl.SSLError as error:
        reason = (error.reason or "no certificate and key").lower().replace("_", " ")
        raise SourceError(f"certFile {certificate} and its keyFile: {reason}") from None
    except OSError as error:
        files = f"certFile {certificate} or its keyFile"
        raise SourceError(f"{files} cannot be read: {system_reason(error)}") from None


def _no_password() -> str:
    """A key with a password would be asked for on the terminal."""
    raise SourceError("the keyFile has a password: give one without")
