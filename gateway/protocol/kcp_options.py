"""GOST's options of kcp, as they take effect there, and ours where it has none.

GOST 3.3 takes most options from `kcp.NAME` alone: what a `config` map or file says of them
is not used, not even when the option is missing. The others come from the map or the file
alone, and there a missing one is 0. Without map and file they have GOST's defaults. Where a
window is not given GOST has 32 segments, ours more: KCP's own header tells the other end.
Source: GOST x, dialer/kcp, listener/kcp, internal/util/kcp.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.protocol.fec import check_shards

CRYPTS = ("aes", "aes-128", "aes-192", "sm4", "cast5", "blowfish", "3des", "xor", "none")
LEFT_OUT = ("salsa20", "tea", "twofish", "xtea")
"""GOST has these too; no kept library has them."""
MODES = {
    "normal": (0, 40, 2, 1),
    "fast": (0, 30, 2, 1),
    "fast2": (1, 20, 2, 1),
    "fast3": (1, 10, 2, 1),
}
"""nodelay, interval, resend, nc."""
MANUAL = ("", "manual")

WINDOW = 2048
LARGEST_WINDOW = 65535
LEAST_MTU, MOST_MTU = 128, 1500
_SOCKBUF = 4194304

_OPTION = frozenset(
    {
        "tcp", "key", "crypt", "mode", "keepalive", "interval", "mtu", "rcvwnd", "sndwnd",
        "smuxver", "smuxbuf", "streambuf", "nocomp",
    }
)  # fmt: skip
_CONFIG = {
    "datashard": 10, "parityshard": 3, "dscp": 0, "acknodelay": False, "nodelay": 0,
    "resend": 0, "nc": 0, "sockbuf": _SOCKBUF,
}  # fmt: skip
_IDLE = frozenset({"snmplog", "snmpperiod", "signal"})
"""Statistics and signals of GOST's own; they change nothing between the ends."""
_YES, _NO = {"1", "t", "true"}, {"", "0", "f", "false"}


@dataclass(frozen=True, slots=True)
class KcpOptions:
    """What one end of kcp is set to. ValueError names what is wrong.

    Key, crypt, nocomp and smuxver must be the same at both ends.
    """

    key: str = field(default="", repr=False)
    crypt: str = "aes"
    mtu: int = 1400
    """Bytes of UDP payload, at most."""
    sndwnd: int = WINDOW
    rcvwnd: int = WINDOW
    """Segments."""
    datashard: int = 10
    parityshard: int = 3
    """Either 0: no parity is sent. The other end's is used whatever it is."""
    dscp: int = 0
    nocomp: bool = False
    nodelay: bool = False
    interval: int = 10
    """Milliseconds."""
    resend: int = 0
    nc: bool = False
    sockbuf: int = _SOCKBUF
    smuxver: int = 1
    smuxbuf: int = _SOCKBUF
    streambuf: int = _SOCKBUF // 2
    keepalive: int = 10
    """Seconds."""

    def __post_init__(self) -> None:
        _check_crypt(self.crypt)
        if self.fec:
            try:
                check_shards(self.datashard, self.parityshard)
            except ValueError as error:
                raise ValueError(f"kcp datashard and parityshard: {error}") from None
        for name, least, most in (
            ("mtu", LEAST_MTU, MOST_MTU),
            ("sndwnd", 1, LARGEST_WINDOW),
            ("rcvwnd", 1, LARGEST_WINDOW),
            ("dscp", 0, 63),
            ("interval", 10, 5000),
            ("resend", 0, 255),
            ("smuxver", 1, 2),
            ("keepalive", 1, 3600),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"kcp.{name}: {value} is not from {least} to {most}")

    @property
    def fec(self) -> bool:
        """Parity is sent."""
        return self.datashard > 0 and self.parityshard > 0


def kcp_options(
    options: Mapping[str, object], config: Mapping[str, object] | None = None
) -> tuple[KcpOptions, list[str]]:
    """What `kcp.NAME` options and a `config` map or file (both by NAME) come to.

    Also gives warnings, one line each, for what GOST does not use where it was said.

    Raises:
        ValueError: One line that names option and value.
    """
    warnings = [
        f"kcp config: {name} has no effect here, as in GOST: say kcp.{name}"
        for name in config or ()
        if name in _OPTION
    ]
    warnings += [
        f"kcp.{name} has no effect, as in GOST: say it in the map kcp.config"
        for name in options
        if name in _CONFIG
    ]
    for name in [*options, *(config or ())]:
        if name not in _OPTION | _CONFIG.keys() | _IDLE:
            raise ValueError(f"kcp.{name}: kcp has no such option")
    if _bool("tcp", options.get("tcp", False)):
        raise ValueError("kcp.tcp: the imitation of TCP by raw sockets is left out")
    return _build(options, _CONFIG if config is None else config), warnings


def _build(options: Mapping[str, object], config: Mapping[str, object]) -> KcpOptions:
    mode = str(options.get("mode", ""))
    if mode not in MODES and mode not in MANUAL:
        raise ValueError(f"kcp.mode: {mode!r} is none of {', '.join(MODES)}, manual")
    manual = (
        _int("nodelay", config.get("nodelay", 0)),
        _int("interval", options.get("interval", 0)),
        _int("resend", config.get("resend", 0)),
        _int("nc", config.get("nc", 0)),
    )
    nodelay, interval, resend, nc = MODES.get(mode, manual)
    sockbuf = _int("sockbuf", config.get("sockbuf", 0)) or _SOCKBUF

    def own(name: str, otherwise: int) -> int:
        value = _int(name, options.get(name, 0))
        return value if value > 0 else otherwise

    return KcpOptions(
        key=str(options.get("key", "")),
        crypt=str(options.get("crypt", "")) or "aes",
        mtu=own("mtu", 1400),
        sndwnd=own("sndwnd", WINDOW),
        rcvwnd=own("rcvwnd", WINDOW),
        datashard=_int("datashard", config.get("datashard", 0)),
        parityshard=_int("parityshard", config.get("parityshard", 0)),
        dscp=_int("dscp", config.get("dscp", 0)),
        nocomp=_bool("nocomp", options.get("nocomp", False)),
        nodelay=nodelay != 0,
        interval=min(max(interval, 10), 5000),
        resend=max(resend, 0),
        nc=nc != 0,
        sockbuf=sockbuf,
        smuxver=own("smuxver", 1),
        smuxbuf=own("smuxbuf", sockbuf),
        streambuf=own("streambuf", sockbuf // 2),
        keepalive=own("keepalive", 10),
    )


def _check_crypt(name: str) -> None:
    if name in LEFT_OUT:
        raise ValueError(f"kcp.crypt: {name} is left out; there are {', '.join(CRYPTS)}")
    if name not in CRYPTS:
        raise ValueError(
            f"kcp.crypt: {name!r} is none of {', '.join(CRYPTS)} (GOST takes it for aes)"
        )


def _int(name: str, value: object) -> int:
    if isinstance(value, int):
        return int(value)
    try:
        return int(str(value))
    except ValueError:
        raise ValueError(f"kcp.{name}: {value!r} is no whole number") from None


def _bool(name: str, value: object) -> bool:
    if isinstance(value, int):
        return value != 0
    text = str(value).lower()
    if text not in _YES | _NO:
        raise ValueError(f"kcp.{name}: {value!r} is neither true nor false")
    return text in _YES
