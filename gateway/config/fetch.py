"""A configuration from a web server (`-C http://...`), read once before anything starts.

As in GOST: 30 seconds for all of it, 10 MiB at most, status 200, and the format is what the
Content-Type says, else the name's end, else YAML. Proxies of the environment are not
used. Messages show no user, password or query, which may be secret.
"""

import base64
import http.client
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import unquote_to_bytes, urlsplit

from gateway.config.model import public_url
from gateway.errors import ConfigError

SECONDS = 30.0
BYTE_LIMIT = 10 * 1024 * 1024
_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Page:
    """What was read, how messages call it, and what it is: `json` or `yaml`."""

    body: bytes
    label: str
    form: str
    is_clear: bool


def fetch(url: str, seconds: float = SECONDS, limit: int = BYTE_LIMIT) -> Page:
    """Read a URL. Raises ConfigError with one line."""
    label = public_url(url)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + seconds
    try:
        with opener.open(_request(url), timeout=seconds) as answer:
            if answer.status != http.HTTPStatus.OK:
                raise ConfigError(f"-C {label}: the answer has status {answer.status}, not 200")
            body = _read(answer, label, deadline, limit)
            kind = str(answer.headers.get_content_type())
            clear = not str(answer.url).startswith("https://") and not _is_here(answer.url)
    except urllib.error.HTTPError as error:
        error.close()
        raise ConfigError(f"-C {label}: the answer has status {error.code}, not 200") from None
    except TimeoutError:
        raise ConfigError(f"-C {label}: not read within {seconds:g} seconds") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.URLError) and isinstance(error.reason, TimeoutError):
            raise ConfigError(f"-C {label}: not read within {seconds:g} seconds") from None
        raise ConfigError(f"-C {label}: cannot be read: {_reason(error)}") from None
    return Page(body, label, _form(kind, url), clear)


def _request(url: str) -> urllib.request.Request:
    """A GET; what stands before the @ goes as basic authentication."""
    parts = urlsplit(url)
    userinfo, _, netloc = parts.netloc.rpartition("@")
    bare = parts._replace(netloc=netloc, fragment="").geturl()
    request = urllib.request.Request(bare)  # noqa: S310  (the scheme was looked at)
    if userinfo:
        word = base64.b64encode(unquote_to_bytes(userinfo)).decode()
        request.add_unredirected_header("Authorization", f"Basic {word}")
    return request


def _read(answer: http.client.HTTPResponse, label: str, deadline: float, limit: int) -> bytes:
    parts = bytearray()
    while chunk := answer.read1(_CHUNK):
        parts += chunk
        if len(parts) > limit:
            raise ConfigError(f"-C {label}: is larger than {limit:,} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(parts)


def _form(kind: str, url: str) -> str:
    if "json" in kind or "yaml" in kind:
        return "json" if "json" in kind else "yaml"
    return "json" if urlsplit(url).path.endswith(".json") else "yaml"


def _is_here(url: str) -> bool:
    """Whether a URL leads to this very host."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, OSError):
        error = error.reason
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
