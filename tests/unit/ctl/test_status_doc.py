"""docs/status.md is a closed vocabulary: it has what the program has, in its order."""

import re
from enum import IntEnum
from pathlib import Path

import msgspec
import pytest

from gateway.protocol.bridge_counts import DROP_TEXT, STRANGER_TEXT
from gateway.protocol.forwarding import DropReason, Refusal
from gateway.protocol.status import (
    ChainStatus,
    DeviceStatus,
    HostStatus,
    LegStatus,
    NetworkStatus,
    OffloadStatus,
    PeerStatus,
    ProcessStatus,
    RelayStatus,
    RingStatus,
    ServiceStatus,
    SocketStatus,
    SourceStatus,
    Status,
    TargetStatus,
    UplinkStatus,
)

PAGE = (Path(__file__).parents[3] / "docs" / "status.md").read_text(encoding="utf-8")


def first_cells(heading: str) -> list[str]:
    """The names in the first column below a heading, up to the next heading."""
    section = re.split(rf"^#+ {heading}$", PAGE, flags=re.MULTILINE)[1]
    section = re.split(r"^#", section, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| (`[^|]*) \|", section, flags=re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


@pytest.mark.parametrize(
    "struct",
    [
        Status,
        ServiceStatus,
        DeviceStatus,
        HostStatus,
        NetworkStatus,
        OffloadStatus,
        ProcessStatus,
        RingStatus,
        SocketStatus,
        PeerStatus,
        SourceStatus,
        TargetStatus,
        UplinkStatus,
        ChainStatus,
        LegStatus,
        RelayStatus,
    ],
)
def test_every_field_is_there(struct: type[msgspec.Struct]) -> None:
    assert first_cells(struct.__name__) == list(struct.__struct_fields__)


def test_no_struct_is_forgotten() -> None:
    schema = msgspec.json.schema(Status)
    assert all(f"### {name}\n" in PAGE for name in schema["$defs"])


@pytest.mark.parametrize(
    ("heading", "reasons"), [("Drop reasons", DropReason), ("Refusals", Refusal)]
)
def test_every_reason_is_there(heading: str, reasons: type[IntEnum]) -> None:
    assert first_cells(heading) == [reason.name.lower() for reason in reasons]


@pytest.mark.parametrize(
    ("heading", "reasons"), [("Lost datagrams", DROP_TEXT), ("Turned away", STRANGER_TEXT)]
)
def test_every_reason_of_a_bridge_is_there(heading: str, reasons: dict[str, str]) -> None:
    assert first_cells(heading) == list(reasons)


def test_every_counter_is_there() -> None:
    names = pytest.importorskip("gateway.fastpath.counters").NAMES
    assert {name for name in names if "drop_" not in name} <= set(first_cells("Counters"))


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, flags=re.MULTILINE)
    anchors = {
        heading.lower().replace(":", "").replace(",", "").replace(" ", "-") for heading in headings
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors
