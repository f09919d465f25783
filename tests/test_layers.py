"""Who may import whom. The rules are a table; a breach is reported with file and line.

Compiled modules count too: their `import` and `cimport` lines are read as text.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "gateway"

BELOW_WORKERS = frozenset({"protocol", "config", "fastpath", "linux", "carriers", "sources"})

MAY_IMPORT: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "log": frozenset(),
    "protocol": frozenset(),
    "config": frozenset({"protocol"}),
    "fastpath": frozenset(),
    "users": frozenset(),
    "linux": frozenset({"protocol", "users"}),
    "carriers": frozenset({"protocol"}),
    "sources": frozenset({"protocol", "config"}),
    "workers": BELOW_WORKERS | {"log"},
    "supervisor": BELOW_WORKERS | {"workers", "log"},
    "doctor": frozenset({"protocol", "config", "linux"}),
    # Of protocol: the status, where its socket is, and the words for reasons.
    "ctl": frozenset(
        {
            "protocol.status",
            "protocol.instances",
            "protocol.forwarding",
            "protocol.bridge_counts",
            "doctor (lazily)",
        }
    ),
    "check": frozenset({"protocol", "config", "sources", "users", "check_carriers (lazily)"}),
    "check_carriers": frozenset({"config", "carriers", "workers.bridge_carriers"}),
    "cli": BELOW_WORKERS | {"workers", "supervisor", "log", "check"},
    "__main__": frozenset({"cli"}),
}
"""Room to rooms, or to single modules of one. Its own room and `errors` are everyone's."""

WORKERS = frozenset(
    {"tun_reader", "udp_worker", "bridge_relay", "bridge_chain", "resolver", "exporter"}
)
"""What the children run. They share what lies beside them in the room, never each other."""

IMPURE = frozenset(
    {
        "asyncio", "fcntl", "mmap", "multiprocessing", "os", "posix", "select", "selectors",
        "signal", "socket", "socketserver", "ssl", "subprocess", "threading", "time",
    }
)  # fmt: skip
"""Protocol takes bytes and times as arguments: no sockets, no system, no clock."""

PACKAGES = {"protocol": frozenset({"msgspec"}), "fastpath": frozenset[str]()}
"""Rooms that may not use just any declared dependency."""

C_PACKAGES = frozenset({"libc", "posix", "cpython", "cython"})


@dataclass(frozen=True)
class Import:
    """One imported module: by whom, where, and whether only when a function runs."""

    importer: str
    imported: str
    place: str
    lazy: bool
    c: bool = False


def imports_of(file: Path, source: Path) -> Iterator[Import]:
    """Every import of one file of the tree at `source` (the folder `gateway`)."""
    module = module_name(file, source)
    place = f"{source.name}/{file.relative_to(source)}"
    if file.suffix in {".pyx", ".pxd"}:
        yield from cython_imports(file.read_text(), module, place)
        return
    yield from python_imports(ast.parse(file.read_text()), module, place, lazy=False)


def module_name(file: Path, source: Path) -> str:
    parts = [source.name, *file.relative_to(source).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def python_imports(node: ast.AST, module: str, place: str, *, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        for name in imported_names(child, module, is_package=place.endswith("__init__.py")):
            yield Import(module, name, f"{place}:{child.lineno}", lazy)
        yield from python_imports(child, module, place, lazy=inside)


def imported_names(node: ast.AST, module: str, *, is_package: bool) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        base = absolute(node.module or "", node.level, module, is_package=is_package)
        yield from (f"{base}.{alias.name}" for alias in node.names)


def absolute(name: str, level: int, module: str, *, is_package: bool) -> str:
    if level == 0:
        return name
    parents = module.split(".")
    kept = parents[: len(parents) - level + is_package]
    return ".".join([*kept, *filter(None, [name])])


CYTHON_IMPORT = re.compile(r"^(\s*)(?:from\s+(\.*)([\w.]*)\s+)?(c?import)\b[\s(]*([\w.,\s*]*)")


def cython_imports(text: str, module: str, place: str) -> Iterator[Import]:
    for number, line in enumerate(text.splitlines(), 1):
        found = CYTHON_IMPORT.match(line.split("#")[0])
        if not found:
            continue
        indent, dots, base, verb, names = found.groups()
        for words in names.rstrip().rstrip(",").split(","):
            name = next(iter(words.split()), "")
            if base or dots:
                name = f"{absolute(base or '', len(dots or ''), module, is_package=False)}.{name}"
            yield Import(module, name, f"{place}:{number}", bool(indent), verb == "cimport")


def objection(found: Import) -> str:
    """Say which rule this import breaks; empty when none."""
    room = room_of(found.importer)
    if found.imported.split(".")[0] != "gateway":
        return outside_objection(room, found)
    target = found.imported.split(".")[1:]
    if not target or target[0] in {"__version__", "errors", room}:
        return worker_objection(room, found.importer, target)
    if room == "":
        return "the package itself holds the version and imports nothing"
    if room not in MAY_IMPORT:
        return f"{room} is no room of the design: give it a line in MAY_IMPORT"
    allowed = MAY_IMPORT[room]
    if target[0] in allowed or ".".join(target[:2]) in allowed:
        return ""
    if found.lazy and f"{target[0]} (lazily)" in allowed:
        return ""
    return f"{room} may import {', '.join(sorted(allowed)) or 'no other room'}"


def room_of(module: str) -> str:
    return ".".join(module.split(".")[1:2])


def worker_objection(room: str, importer: str, target: list[str]) -> str:
    own = importer.split(".")[2:3]
    if room == "workers" and target[:1] == ["workers"] and target[1:2] != own:
        other = next(iter(target[1:2]), "")
        if other in WORKERS:
            return "workers never import each other"
    return ""


def outside_objection(room: str, found: Import) -> str:
    package = found.imported.split(".")[0]
    if found.c:
        return "" if package in C_PACKAGES else f"{package} is not C"
    if room == "protocol" and package in IMPURE:
        return "protocol knows no sockets, no system and no clock"
    known = package in sys.stdlib_module_names
    if not known and room in PACKAGES and package not in PACKAGES[room]:
        return f"{room} may use {', '.join(PACKAGES[room]) or 'no package'}"
    return ""


def breaches(source: Path) -> list[str]:
    """Every breach in the tree, as `file:line: who imports what: which rule`."""
    files = [file for file in source.rglob("*") if file.suffix in {".py", ".pyi", ".pyx", ".pxd"}]
    return [
        f"{found.place}: {found.importer} imports {found.imported}: {rule}"
        for file in sorted(files)
        for found in imports_of(file, source)
        if (rule := objection(found))
    ]


def test_every_import_keeps_to_the_rooms() -> None:
    assert not breaches(SOURCE), "\n" + "\n".join(breaches(SOURCE))


def test_every_room_has_a_rule() -> None:
    rooms = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert rooms - {"__init__", "__pycache__"} <= MAY_IMPORT.keys()


@pytest.mark.parametrize(
    ("file", "line", "rule"),
    [
        ("protocol/wire.py", "import time", "no clock"),
        ("protocol/wire.py", "from os import path", "no clock"),
        ("protocol/wire.py", "import psutil", "protocol may use msgspec"),
        ("protocol/wire.py", "from gateway.config import model", "no other room"),
        ("config/url.py", "from gateway.linux.tun import TunDevice", "config may import protocol"),
        ("linux/tun.py", "from ..config import model", "linux may import protocol"),
        ("linux/tun.py", "def f():\n    import gateway.log", "linux may import protocol"),
        ("carriers/tls.py", "import gateway.supervisor.loop", "carriers may import protocol"),
        ("sources/redis.py", "from gateway import linux", "sources may import config, protocol"),
        ("fastpath/pump.pyx", "from gateway.linux.tun import TunDevice", "no other room"),
        ("fastpath/pump.pyx", "cimport numpy", "numpy is not C"),
        ("fastpath/pump.pxd", "from gateway.linux.tun cimport (", "no other room"),
        ("workers/bridge.py", "from gateway.supervisor import loop", "workers may import"),
        ("workers/bridge.py", "from . import resolver", "never import each other"),
        ("workers/bridge.py", "from .udp_worker import run", "never import each other"),
        ("supervisor/loop.py", "from gateway.cli import main", "supervisor may import"),
        ("supervisor/loop.py", "import gateway.doctor", "supervisor may import"),
        ("doctor/host.py", "from gateway.fastpath import ring", "doctor may import"),
        ("ctl/ask.py", "from gateway.protocol import wire", "ctl may import"),
        ("ctl/ask.py", "import gateway.doctor", "ctl may import"),
        ("log.py", "from gateway.config import model", "no other room"),
        ("__init__.py", "from gateway import cli", "the package itself"),
        ("attic/old.py", "from gateway.config import model", "no room of the design"),
    ],
)
def test_a_breach_is_reported_with_its_line(
    tmp_path: Path, file: str, line: str, rule: str
) -> None:
    found = breaches(tree(tmp_path, file, f'"""Head."""\n\n{line}\n'))
    assert len(found) == 1
    number = 3 + line.count("\n")
    assert found[0].startswith(f"gateway/{file}:{number}: ")
    assert rule in found[0]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("protocol/wire.py", "import ipaddress, msgspec\nfrom gateway.errors import GatewayError"),
        ("config/url.py", "import os\nimport yaml\nfrom gateway.protocol import packet"),
        ("fastpath/fib.pyx", "from libc.stdint cimport uint8_t\ncimport cython  # C\nimport enum"),
        ("fastpath/pump.pyx", "from gateway.fastpath.ring cimport Ring\nfrom .fib cimport Fib"),
        ("workers/bridge.py", "from .base import Worker\nfrom gateway import __version__, log"),
        ("workers/udp_worker.py", "from gateway.workers import base"),
        ("supervisor/children.py", "from gateway.workers import udp_worker, tun_reader"),
        ("ctl/main.py", "def f():\n    from gateway.doctor import host"),
        ("ctl/ask.py", "from gateway.protocol.status import Status"),
        ("cli.py", "from gateway.supervisor.loop import run\nfrom gateway import log"),
    ],
)
def test_what_the_design_allows_passes(tmp_path: Path, file: str, line: str) -> None:
    assert breaches(tree(tmp_path, file, f"{line}\n")) == []


def tree(folder: Path, file: str, text: str) -> Path:
    """Write one file into an otherwise empty `gateway`."""
    path = folder / "gateway" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return folder / "gateway"
