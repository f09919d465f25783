"""Chains (`-F`, `chain`, `chains`, `hops`): all of what is said about them is refused here.

A service that asks for one must not start without it, as its packets would travel in
the clear: so none of this is passed over by `--ignore-unsupported`.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from gateway.config.tree import Entry, Report
from gateway.config.values import shown

CHAIN_KEYS = ("chain", "chaingroup")

_SUBJECT = "carriers and chains are not supported by this version"
NO_CHAINS = (
    f"{_SUBJECT}: leave this out, and let the addr in forwarder.nodes be the server's "
    "HOST:PORT itself"
)
NO_FORWARD = (
    f"{_SUBJECT}: leave -F out, and give the server's UDP port as the target, as in "
    "-L tun://:0/HOST:PORT?net=..."
)


def refuse_forwards(urls: Sequence[str], report: Report) -> bool:
    """Report every `-F`, and tell whether there is one."""
    for number, url in enumerate(urls, 1):
        report.error(f"-F #{number}", f"{shown(without_userinfo(url))}: {NO_FORWARD}")
    return bool(urls)


def refuse_chains(handler: dict[str, Entry], listener: dict[str, Entry], report: Report) -> bool:
    """Report every chain a service asks for, and tell whether there is one."""
    refused = False
    for name, end in (("handler", handler), ("listener", listener)):
        for key in CHAIN_KEYS:
            if key in end and not end[key].node.is_empty:
                report.error(end[key].place, f"{name}.{end[key].key}: {NO_CHAINS}")
                refused = True
    return refused


def refuse_lists(top: dict[str, Entry], report: Report, *, chained: bool) -> None:
    """One sentence is enough: the list of chains is news only where nobody refers to it."""
    if chained or any(NO_CHAINS in line for line in report.errors):
        return
    for key in ("chains", "hops"):
        if key in top and not top[key].node.is_empty:
            report.error(top[key].place, f"{top[key].key}: {NO_CHAINS}")
            return


def without_userinfo(url: str) -> str:
    """A URL as far as its host: what follows may hold secrets, as what precedes may."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "..."
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
