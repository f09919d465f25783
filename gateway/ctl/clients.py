"""`gateway-ctl client`: ask the server that knows the address, write what to run there."""

import argparse
from pathlib import Path

from gateway.ctl.ask import NoAnswer, NoServer, NotRunning, ask_client, list_instances
from gateway.ctl.invitation import PASSPHRASE_PLACEHOLDER, Invitation, invitation, notes
from gateway.ctl.terminal import Look
from gateway.ctl.words import Words
from gateway.errors import ConfigError, GatewayError, HostError
from gateway.protocol.status import ClientFacts

PASSPHRASE_LIMIT = 16
"""Bytes of a passphrase that are sent (docs/wire.md)."""


def client_page(
    directory: str, arguments: argparse.Namespace, look: Look
) -> tuple[bytes, list[str]]:
    """What to print, and notes about it. Raises GatewayError."""
    facts = _facts(directory, arguments)
    passphrase = _passphrase(arguments.passphrase_file)
    if passphrase is None and facts.auth:
        passphrase = PASSPHRASE_PLACEHOLDER
    made = invitation(facts, arguments.host, passphrase)
    if arguments.qr is None:
        return _text(made).encode(), notes(made)
    return _code(made, arguments.qr, look), notes(made)


def _facts(directory: str, arguments: argparse.Namespace) -> ClientFacts:
    """Of the instance that was named, or of the first one that knows the address."""
    if arguments.instance is not None:
        return ask_client(directory, arguments.instance, arguments.addresses)
    failure: GatewayError | None = None
    for instance in list_instances(directory):
        try:
            return ask_client(directory, instance, arguments.addresses)
        except NotRunning:
            continue
        except GatewayError as error:
            if failure is None or _tells_more(error, failure):
                failure = error
    if failure is not None:
        raise failure
    raise NotRunning(f"no gateway is running: there is no control socket in {directory}")


def _tells_more(error: GatewayError, former: GatewayError) -> bool:
    """A server's no says more than a client's; that one may not ask, more than both."""
    if isinstance(former, NoServer):
        return not isinstance(error, NoServer)
    return isinstance(former, NoAnswer) and not isinstance(error, NoAnswer)


def _passphrase(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise HostError(f"--passphrase-file {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--passphrase-file {file}: it is not UTF-8 text") from None
    first = text.split("\n", 1)[0].rstrip("\r")
    if not first:
        raise ConfigError(f"--passphrase-file {file}: its first line is empty")
    if len(first.encode()) > PASSPHRASE_LIMIT:
        raise ConfigError(
            f"--passphrase-file {file}: {len(first.encode())} bytes; a passphrase has"
            f" {PASSPHRASE_LIMIT} at most"
        )
    return first


def _text(made: Invitation) -> str:
    words, facts, hop = Words(), made.facts, made.hop
    through = f", through {words.text(hop.relay.name)}" if hop is not None else ""
    pinned = hop is not None and hop.relay.pin
    blind = ", which knows no pin and believes any server" if pinned else ""
    return (
        f"# {', '.join(facts.interfaces)} of service {words.text(facts.service)}{through}\n"
        f"gateway {made.arguments}\n"
        f"\n# the same with stock GOST{blind}\n"
        f"gost {made.arguments}\n"
        "\n# the same as a file, for -C of both\n"
        f"{made.yaml}"
    )


def _code(made: Invitation, what: str, look: Look) -> bytes:
    try:
        from gateway.ctl.qr import drawn  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "segno":
            raise
        remedy = "install it with: pip install 'tun-gateway[qr]'"
        raise HostError(f"--qr needs the Python package segno, an extra: {remedy}") from None
    url = made.url if made.hop is None else made.arguments
    text = url if what == "url" else made.yaml
    return drawn(text, ascii_only=look.ascii_only)
