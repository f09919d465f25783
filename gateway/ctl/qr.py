"""QR codes in a terminal. The library is an extra; whoever imports this needs it."""

import segno
from segno.encoder import DataOverflowError

from gateway.errors import ConfigError

QUIET_ZONE = 2
_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def drawn(text: str, *, ascii_only: bool) -> bytes:
    """Light on dark, as terminals mostly are; two rows a line, or in ASCII two signs a dot.

    Raises ConfigError where a text is too long for any code.
    """
    try:
        code = segno.make(text, error="l", micro=False)
    except DataOverflowError:
        raise ConfigError("too much for a QR code; --qr url is the shorter one") from None
    light = [[not dot for dot in row] for row in code.matrix_iter(border=QUIET_ZONE)]
    if ascii_only:
        lines = ["".join("##" if dot else "  " for dot in row) for row in light]
    else:
        light += [[False] * len(light[0])] * (len(light) % 2)
        pairs = zip(light[::2], light[1::2], strict=True)
        lines = ["".join(map(_HALVES.__getitem__, zip(*pair, strict=True))) for pair in pairs]
    return "".join(line + "\n" for line in lines).encode()
