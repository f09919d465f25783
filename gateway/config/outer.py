"""What is around a service: name servers, devices, namespaces, its owner's commands."""

from typing import TypeVar

from gateway.config import host_options
from gateway.config.bag import Bag
from gateway.config.model import Address, Commands
from gateway.config.option import Option

T = TypeVar("T")

DNS_LIMIT = 16
"""Name servers of one device."""


def name_servers(bag: Bag) -> tuple[Address, ...]:
    """Each address once, in the order given."""
    found = tuple(dict.fromkeys(bag.many(host_options.DNS)))
    if len(found) > DNS_LIMIT:
        bag.complain(host_options.DNS, f"{len(found)} name servers are too many: {DNS_LIMIT}")
    if found and said(bag, host_options.NETNS) is not None:
        bag.warn(host_options.DNS, "systemd-resolved does not look into netns: they are not set")
    return found


def commands(bag: Bag) -> Commands:
    """The commands of the four moments."""
    return Commands(
        bag.many(host_options.PRE_UP),
        bag.many(host_options.POST_UP),
        bag.many(host_options.PRE_DOWN),
        bag.many(host_options.POST_DOWN),
    )


def said(bag: Bag, option: Option[T]) -> T | None:
    """An option for which an empty text says nothing."""
    if not bag.has(option) or bag.found[option.name].node.is_empty:
        return None
    return bag.one(option)
