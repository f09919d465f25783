"""The part of the status that is about the host: NAT, routes, DNS, commands, the steward."""

from msgspec.structs import replace

from gateway.protocol.status import HostStatus
from gateway.supervisor.service import TunService
from gateway.supervisor.steward import Steward


def host_status(service: TunService, problems: list[str]) -> HostStatus:
    """Of one service; its problems are the instance's too."""
    found = service.host.status
    routed = service.routed.host.problems if service.routed is not None else ()
    dns = (service.dns.problem,) if service.dns.problem else ()
    found = replace(
        found,
        problems=(*found.problems, *routed, *dns, *service.commands.problems),
        dns=service.dns.state,
    )
    problems += [f"service {service.config.name}: {problem}" for problem in found.problems]
    return found


def judge_steward(steward: Steward | None, problems: list[str]) -> None:
    """Nobody can replace it."""
    if steward is not None and not steward.pid:
        problems.append(
            "the process that runs commands as root has gone: dns and commands are not looked "
            "after any more; start the gateway again"
        )
