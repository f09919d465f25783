"""The status: from counter pages, tables, the kernel and psutil. Nobody is asked.

So it is there at once even while a child hangs. What is wrong is said in sentences;
any of them makes the health `degraded`.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import psutil

from gateway import __version__
from gateway.errors import HostError
from gateway.fastpath.counters import NAMES
from gateway.linux import udp
from gateway.linux.netlink import Link
from gateway.linux.process import own_capabilities
from gateway.protocol.forwarding import DropReason, Refusal
from gateway.protocol.packet import unpack_address
from gateway.protocol.status import (
    DeviceStatus,
    OffloadStatus,
    ProcessStatus,
    RingStatus,
    ServiceStatus,
    SocketStatus,
    Status,
    TargetStatus,
    UplinkStatus,
)
from gateway.protocol.targets import Standing, Target
from gateway.protocol.uplink import State
from gateway.supervisor.children import RESTART_PERIOD, Member
from gateway.supervisor.host_report import host_status, judge_steward
from gateway.supervisor.lans import FATES
from gateway.supervisor.peer_report import peers
from gateway.supervisor.service import TunService
from gateway.supervisor.source_report import sources
from gateway.supervisor.steward import Steward

ProcessKind = Literal[
    "supervisor", "tun-reader", "udp-worker", "bridge", "resolver", "exporter", "steward"
]


@dataclass
class _Used:
    """CPU seconds of a process at some time, for the percentage since then."""

    at: float
    seconds: float
    percent: float = 0.0


class Reporter:
    """Builds the status. `boot` and `now` are this turn's readings (I11)."""

    def __init__(self, instance: str, user: str) -> None:
        self._instance = instance
        self._user = user
        self._started_at = datetime.now(UTC)
        self._started = time.monotonic()
        self._used: dict[int, _Used] = {}

    def status(
        self,
        services: Sequence[TunService],
        resolver: Member | None,
        steward: Steward | None,
        now: float,
        boot: float,
    ) -> Status:
        """The whole report."""
        problems: list[str] = []
        reports = tuple(self._service(service, problems, now, boot) for service in services)
        if resolver is not None:
            _judge_process("", resolver, problems, now)
        judge_steward(steward, problems)
        return Status(
            instance=self._instance,
            version=__version__,
            health="degraded" if problems else "healthy",
            problems=tuple(problems),
            started_at=self._started_at.isoformat(timespec="seconds"),
            uptime_seconds=now - self._started,
            user=self._user,
            capabilities=own_capabilities(),
            supervisor=self._process("supervisor", "supervisor", os.getpid(), "running", now),
            services=reports,
            resolver=self._member(resolver, now) if resolver is not None else None,
            steward=self._steward(steward, now),
        )

    def process(
        self, member: Member, prefix: str, problems: list[str], now: float
    ) -> ProcessStatus:
        """One child that is no service's own."""
        _judge_process(prefix, member, problems, now)
        return self._member(member, now)

    def sample(self, pids: Iterable[int], now: float) -> None:
        """Note the CPU time of processes now and then, so that percentages are recent."""
        alive = set(pids) | {os.getpid()}
        for pid in alive:
            with contextlib.suppress(psutil.Error, OSError):
                times = psutil.Process(pid).cpu_times()
                self._note(pid, times.user + times.system, now)
        for pid in self._used.keys() - alive:
            del self._used[pid]

    def _service(
        self, service: TunService, problems: list[str], now: float, boot: float
    ) -> ServiceStatus:
        config, opened = service.config, service.opened
        for member in service.members:
            _judge_process(f"service {config.name}: ", member, problems, now)
        totals = _totals(service)
        device = self._device(service, problems)
        return ServiceStatus(
            name=config.name,
            role="server" if service.hub is not None else "client",
            listen=udp.local_text(opened.acks) if opened.acks is not None else "",
            auth=service.admission.auth,
            source_check=config.source_check,
            device=device,
            offload=OffloadStatus(
                mode=config.offload,
                tun=tuple(opened.device.offloads),
                udp=_udp_offloads(service),
                fallbacks=totals["gso_fallbacks"],
                note=opened.probe.note,
            ),
            processes=tuple(self._member(member, now) for member in service.members),
            rings=_rings(service),
            sockets=_sockets(service),
            peers=peers(service, problems, boot),
            uplink=_uplink(service, problems, totals, boot),
            counters={name: totals[name] for name in NAMES if "drop_" not in name},
            drops=_drops(totals),
            refusals=_refusals(service),
            sources=sources(service.admission.tables, service.routed, config.name, problems, boot),
            host=host_status(service, problems),
            advertised=service.advertising.status() if service.advertising is not None else (),
            advertisements=_advertisements(service),
            acks=_acks(service),
        )

    def _device(self, service: TunService, problems: list[str]) -> DeviceStatus:
        config, device = service.config, service.opened.device
        link = None
        try:
            link = device.link()
        except HostError as error:
            problems.append(f"service {config.name}: device {device.name} is not known: {error}")
        else:
            _judge_device(config.name, device.name, link, problems)
        return DeviceStatus(
            name=device.name,
            addresses=tuple(str(net) for net in config.nets),
            mtu=link.mtu if link is not None else config.mtu,
            up=link is not None and link.up,
            queue_dropped=link.queue_dropped if link is not None else 0,
        )

    def _steward(self, steward: Steward | None, now: float) -> ProcessStatus | None:
        if steward is None or not steward.pid:
            return None
        return self._process("steward", "steward", steward.pid, "running", now)

    def _member(self, member: Member, now: float) -> ProcessStatus:
        spec = member.spec
        return self._process(
            spec.name,
            spec.kind,
            member.pid,
            member.state(now),
            now,
            pulse_age=member.pulse_age(now),
            restarts=member.restarts,
            last_exit=member.last_exit,
            counters=spec.page.read() if spec.kind in ("tun-reader", "udp-worker") else {},
        )

    def _process(
        self,
        name: str,
        kind: ProcessKind,
        pid: int,
        state: Literal["running", "starting", "restarting", "late"],
        now: float,
        *,
        pulse_age: float | None = None,
        restarts: int = 0,
        last_exit: str = "",
        counters: dict[str, int] | None = None,
    ) -> ProcessStatus:
        cpus: tuple[int, ...] = ()
        seconds = percent = 0.0
        memory = 0
        with contextlib.suppress(psutil.Error, OSError):
            if pid:
                process = psutil.Process(pid)
                cpus = tuple(sorted(os.sched_getaffinity(pid)))
                times = process.cpu_times()
                seconds = times.user + times.system
                percent = self._percent(pid, seconds, now)
                memory = process.memory_info().rss
        return ProcessStatus(
            name=name,
            kind=kind,
            pid=pid,
            state=state,
            cpus=cpus,
            pulse_age_seconds=pulse_age,
            cpu_seconds=seconds,
            cpu_percent=percent,
            memory_bytes=memory,
            restarts=restarts,
            last_exit=last_exit,
            counters=counters or {},
        )

    def _percent(self, pid: int, seconds: float, now: float) -> float:
        used = self._used.get(pid)
        if used is None:
            return 0.0
        if now - used.at < 0.2:
            return used.percent
        return max(0.0, 100.0 * (seconds - used.seconds) / (now - used.at))

    def _note(self, pid: int, seconds: float, now: float) -> None:
        self._used[pid] = _Used(now, seconds, self._percent(pid, seconds, now))


def _judge_process(prefix: str, member: Member, problems: list[str], now: float) -> None:
    state = member.state(now)
    known = state != "starting" or member.restarts or member.starts_late(now)
    if state in ("late", "restarting", "starting") and known:
        age = member.pulse_age(now)
        silent = f", silent for {age:.1f} s" if state == "late" and age is not None else ""
        why = member.hindrance or member.last_exit
        why = f" ({why})" if why and state != "late" else ""
        problems.append(f"{prefix}{member.spec.name} is {state}{silent}{why}")
    elif member.loops(now):
        problems.append(
            f"{prefix}{member.spec.name} died {member.lately(now)} times within "
            f"{RESTART_PERIOD:.0f} s, the last time: {member.last_exit}"
        )


def _judge_device(service: str, name: str, link: Link | None, problems: list[str]) -> None:
    if link is None:
        problems.append(f"service {service}: device {name} is gone")
    elif not link.up:
        problems.append(f"service {service}: device {name} is down (ip link set {name} up)")


def _totals(service: TunService) -> dict[str, int]:
    totals = dict.fromkeys(NAMES, 0)
    for page in service.opened.pages:
        for name, value in page.read().items():
            totals[name] += value
    return totals


def _drops(totals: dict[str, int]) -> dict[str, int]:
    names = [reason.name.lower() for reason in DropReason]
    return {name: totals[f"drop_{name}"] + totals[f"ring_drop_{name}"] for name in names}


def _refusals(service: TunService) -> dict[str, int]:
    counts = service.hub.refusals if service.hub is not None else {}
    return {refusal.name.lower(): counts.get(refusal, 0) for refusal in Refusal}


def _acks(service: TunService) -> dict[str, int]:
    if service.hub is not None:
        return dict(service.hub.acks.counts)
    return {"malformed": service.uplink.bad_acks} if service.uplink is not None else {}


def _advertisements(service: TunService) -> dict[str, int]:
    lans, advertising = service.lans, service.advertising
    if lans is not None:
        return {**{fate: lans.counts[fate] for fate in FATES}, "networks_refused": lans.refused}
    if advertising is None:
        return {}
    return {"malformed": advertising.bad_answers, "networks_refused": advertising.refused}


def _udp_offloads(service: TunService) -> tuple[str, ...]:
    probe = service.opened.probe
    return tuple(name for name, on in (("gso", probe.gso), ("gro", probe.gro)) if on)


def _rings(service: TunService) -> tuple[RingStatus, ...]:
    return tuple(
        RingStatus(f"tun-reader->udp-worker {index}", r.capacity, r.used, r.pushed, r.dropped)
        for index, r in enumerate(service.rings)
    )


def _sockets(service: TunService) -> tuple[SocketStatus, ...]:
    named = [(f"udp-worker {index}", sock) for index, sock in enumerate(service.opened.sockets)]
    if service.opened.acks is not None:
        named.append(("acks", service.opened.acks))
    found = []
    for name, sock in named:
        memory = udp.memory(sock)
        found.append(
            SocketStatus(
                name=name,
                local=udp.local_text(sock),
                queued_bytes=memory.queued_bytes,
                dropped=memory.dropped,
                receive_buffer_bytes=memory.receive_buffer,
                send_buffer_bytes=memory.send_buffer,
            )
        )
    return tuple(found)


def _uplink(
    service: TunService, problems: list[str], totals: dict[str, int], boot: float
) -> UplinkStatus | None:
    if service.uplink is None:
        return None
    machine, path = service.uplink.machine, service.uplink.path_mtu
    target = _target_text(service, machine.target)
    state = machine.state
    reason = service.uplink.reason
    if service.uplink.searching:
        what = "lost" if state is State.LOST else "not resolved yet"
        why = f": {reason}" if reason else ""
        problems.append(f"service {service.config.name}: server {target} is {what}{why}")
    _, _, _, _, tx_dropped, _ = service.traffic.row(0)
    observed = machine.observed
    return UplinkStatus(
        target=target,
        endpoint=str(machine.endpoint) if machine.endpoint is not None else "",
        state=state.value,
        state_seconds=boot - machine.state_since,
        last_ack_seconds=boot - machine.last_ack if machine.last_ack is not None else None,
        observed_address=str(unpack_address(observed)) if observed else "",
        rtt_ms=machine.rtt * 1000 if machine.rtt is not None else None,
        loss_percent=machine.loss * 100 if machine.loss is not None else None,
        heartbeats=machine.heartbeats,
        acks=machine.acks,
        reconnects=machine.reconnects,
        rx_packets=totals["udp_received_packets"],
        rx_bytes=totals["udp_received_bytes"],
        tx_packets=totals["sent_packets"],
        tx_bytes=totals["sent_bytes"],
        tx_dropped=tx_dropped,
        strategy=machine.strategy,
        targets=tuple(_target(service, standing) for standing in machine.standings()),
        path_mtu=path.path,
        mtu_fits=path.fits,
        mtu_advice=path.advice,
        reason=reason,
    )


def _target(service: TunService, standing: Standing) -> TargetStatus:
    return TargetStatus(
        target=_target_text(service, standing.target),
        state=standing.state,
        backup=standing.backup,
        rtt_ms=standing.rtt * 1000 if standing.rtt is not None else None,
        fails=standing.fails,
    )


def _target_text(service: TunService, target: Target) -> str:
    """As configured: of a chain the uplink knows a port on this host only."""
    if service.chain is not None:
        return service.chain.target_at(target.port)
    return endpoint_or_name(target.host, target.port)


def endpoint_or_name(host: str, port: int) -> str:
    """`vpn.example.com:8421`, `203.0.113.7:8421`, `[2001:db8::1]:8421`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
