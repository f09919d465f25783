"""Where the control socket of an instance lives.

    <run directory>/<quoted instance>.sock       /run/gateway/192.168.123.1.sock
                                                 /run/gateway/fd00%3A%3A1.sock

The supervisor makes the socket and `gateway-ctl` looks for it, so both ask here.
Network namespaces share /run, and several instances of one host share the run directory:
the instance's name is all that tells them apart, and quoting is reversible, so that the
directory's listing is the list of instances. Each name has exactly one file name.
"""

from collections.abc import Iterable, Mapping

from gateway.errors import ConfigError

DEFAULT_RUN_DIRECTORY = "/run/gateway"
RUN_DIRECTORY_VARIABLE = "GATEWAY_RUN_DIR"

SOCKET_SUFFIX = ".sock"

SOCKET_PATH_LIMIT = 107
"""Bytes of `sun_path` without the NUL at its end (unix(7))."""

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._+@=,")


def run_directory(environ: Mapping[str, str]) -> str:
    """The directory of the control sockets: GATEWAY_RUN_DIR, else /run/gateway."""
    return environ.get(RUN_DIRECTORY_VARIABLE) or DEFAULT_RUN_DIRECTORY


def socket_path(directory: str, instance: str) -> str:
    """The control socket of `instance`. Raises ConfigError for a name that cannot have one."""
    if not instance:
        raise ConfigError("the instance name is empty: give --instance a name")
    path = f"{directory.rstrip('/')}/{quote(instance)}{SOCKET_SUFFIX}"
    length = len(path.encode("utf-8", "surrogateescape"))
    if length <= SOCKET_PATH_LIMIT:
        return path
    raise ConfigError(
        f"instance name {instance!r} makes the path of its control socket {length} bytes long,"
        f" and Linux takes {SOCKET_PATH_LIMIT}:"
        f" choose a shorter --instance or a shorter {RUN_DIRECTORY_VARIABLE}"
    )


def instances_among(file_names: Iterable[str]) -> list[str]:
    """The instances whose control sockets are among these file names, sorted."""
    found = (instance_of(name) for name in file_names)
    return sorted(instance for instance in found if instance is not None)


def instance_of(file_name: str) -> str | None:
    """The instance a file name in the run directory stands for, or None: it is not ours."""
    quoted = file_name.removesuffix(SOCKET_SUFFIX)
    if quoted == file_name or not quoted:
        return None
    instance = unquote(quoted)
    return instance if instance is not None and quote(instance) == quoted else None


def quote(name: str) -> str:
    """A file name for any text: %XX for each byte that is not plain, and for a leading dot."""
    raw = name.encode("utf-8", "surrogateescape")
    quoted = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in raw)
    return "%2E" + quoted[1:] if quoted.startswith(".") else quoted


def unquote(quoted: str) -> str | None:
    """The text `quote` was given, or None where a % is not followed by two hex digits."""
    first, *rest = quoted.split("%")
    raw = bytearray(first.encode("utf-8", "surrogateescape"))
    for part in rest:
        try:
            raw += bytes.fromhex(part[:2]) if len(part) >= 2 else b""
        except ValueError:
            return None
        if len(part) < 2:
            return None
        raw += part[2:].encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "surrogateescape")
