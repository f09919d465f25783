"""The package: what it depends on, what it ships, and that what it ships starts.

The archives are built once, from a copy of the checkout that holds its sources only, so
that nothing left over from an earlier build can slip in or help.
"""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = ROOT / "requirements" / "lock.txt"

SOURCES = frozenset({".py", ".pyi", ".pyx", ".pxd", ".h", ".typed"})
SHIPPED = frozenset({".py", ".pyi", ".typed"})

DEPENDENCIES = {
    "cryptography": ("cryptography", "gateway/carriers/certificates.py"),
    "msgspec": ("msgspec", "gateway/protocol/messages.py"),
    "psutil": ("psutil", "gateway/supervisor/report.py"),
    "pyroute2": ("pyroute2", "gateway/linux/netlink.py"),
    "python-prctl": ("prctl", "gateway/linux/process.py"),
    "PyYAML": ("yaml", "gateway/config/yaml.py"),
    "rich": ("rich", "gateway/ctl/render.py"),
    "websockets": ("websockets", "gateway/carriers/websocket.py"),
}
"""Each dependency, the name it is imported by, and the module where it does its work."""

EXTRAS = {
    "redis": ("redis", "gateway/sources/redis.py"),
    "aiohttp": ("aiohttp", "gateway/sources/web.py"),
    "cramjam": ("cramjam", "gateway/carriers/kcp_snappy.py"),
    "hpack": ("hpack", "gateway/carriers/http2_headers.py"),
    "qh3": ("qh3", "gateway/carriers/quic_core.py"),
    "cryptography": ("cryptography", "gateway/carriers/kcp_crypt.py"),
    "segno": ("segno", "gateway/ctl/qr.py"),
}
"""The same of what only the extras need. They are imported when a source asks for them."""

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Archives:
    """What one build made."""

    sdist: Path
    wheel: Path

    def in_sdist(self) -> set[str]:
        """The files of the sdist, without its top folder."""
        with tarfile.open(self.sdist) as archive:
            return {name.partition("/")[2] for name in archive.getnames()}

    def in_wheel(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Archives:
    """The sdist, and the wheel built from that sdist."""
    checkout = tmp_path_factory.mktemp("a checkout")
    for file in source_files():
        target = checkout / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, target)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, checkout / name)
    built = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(checkout))
    return Archives(next(built.glob("*.tar.gz")), next(built.glob("*.whl")))


@pytest.fixture(scope="module")
def installed(archives: Archives, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts folder of a fresh environment with the wheel in it."""
    environment = tmp_path_factory.mktemp("fresh environment")
    run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    python = str(environment / "bin" / "python")
    options = ["--quiet", "--disable-pip-version-check", "--python", python]
    install = ["install", "--constraint", str(LOCK), str(archives.wheel)]
    run(sys.executable, "-m", "pip", *options, *install)
    return environment / "bin"


def run(*command: str) -> str:
    """Run away from the checkout; a failure shows what was printed."""
    result = subprocess.run(
        command,
        check=False,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def source_files() -> set[str]:
    """What of `gateway` is written by hand, as paths from the root."""
    files = (ROOT / "gateway").rglob("*")
    return {str(file.relative_to(ROOT)) for file in files if file.suffix in SOURCES}


def extensions() -> list[dict[str, list[str]]]:
    return PROJECT["tool"]["setuptools"]["ext-modules"]


def modules(suffix: str) -> set[str]:
    return {file for file in source_files() if file.endswith(suffix)}


def imported_packages(file: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def requirement_name(requirement: str) -> str:
    return requirement.partition(">")[0].partition("[")[0]


def test_every_dependency_does_its_work_in_the_module_named() -> None:
    declared = {requirement_name(line) for line in PROJECT["project"]["dependencies"]}
    assert declared == DEPENDENCIES.keys()
    for package, file in DEPENDENCIES.values():
        assert package in imported_packages(file), f"{file} does not import {package}"


def test_every_extra_does_its_work_in_the_module_named() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    everything = ",".join(name for name in extras if name != "all")
    assert extras["all"] == [f"tun-gateway[{everything}]"]
    declared = {requirement_name(line) for name in extras if name != "all" for line in extras[name]}
    assert declared == EXTRAS.keys()
    for package, file in EXTRAS.values():
        assert package in imported_packages(file), f"{file} does not import {package}"


def test_nothing_else_is_imported() -> None:
    declared = [*DEPENDENCIES.values(), *EXTRAS.values()]
    known = {package for package, _ in declared} | sys.stdlib_module_names
    for file in modules(".py"):
        assert imported_packages(file) <= known | {"gateway"}, file


def test_the_type_checker_sees_every_dependency_that_has_types() -> None:
    overrides = PROJECT["tool"]["mypy"]["overrides"]
    untyped = {module for override in overrides for module in override["module"]}
    listed = set((ROOT / "requirements" / "types.txt").read_text().split())
    for name, (package, _) in (DEPENDENCIES | EXTRAS).items():
        assert package in untyped or listed & {name, f"types-{name}"}, name


def compiled() -> set[str]:
    """What becomes an extension module: Cython, and Python with a .pxd beside it."""
    typed = {file.removesuffix("xd") + "y" for file in modules(".pxd")}
    return modules(".pyx") | typed & modules(".py")


def test_every_compiled_module_is_declared_and_pyx_has_a_stub() -> None:
    declared = {source for extension in extensions() for source in extension["sources"]}
    assert declared == compiled()
    assert {source.removesuffix("x") + "i" for source in modules(".pyx")} <= modules(".pyi")


def test_extension_modules_depend_on_every_header_of_their_room() -> None:
    for extension in extensions():
        room = str(Path(extension["sources"][0]).parent) + "/"
        headers = {file for file in modules(".h") | modules(".pxd") if file.startswith(room)}
        assert set(extension["depends"]) == headers, extension["name"]


def test_the_sdist_holds_every_source(archives: Archives) -> None:
    wanted = source_files() | {"pyproject.toml", "README.md", "LICENSE"}
    assert wanted <= archives.in_sdist()


def test_the_wheel_holds_code_and_types_and_nothing_else(archives: Archives) -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    wanted = {file for file in source_files() if Path(file).suffix in SHIPPED}
    wanted |= {source.rpartition(".")[0] + suffix for source in compiled()}
    shipped = archives.in_wheel()
    assert {name for name in shipped if name.startswith("gateway/")} == wanted
    assert {name.partition("/")[0] for name in shipped} == {"gateway", metadata_folder()}


def test_the_metadata_says_what_it_is(archives: Archives) -> None:
    with zipfile.ZipFile(archives.wheel) as archive:
        metadata = message_from_bytes(archive.read(f"{metadata_folder()}/METADATA"))
    assert metadata["Name"] == "tun-gateway"
    assert metadata["Version"] == version()
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"


def version() -> str:
    """`__version__` as written: the only place that has it."""
    for node in ast.parse((ROOT / "gateway" / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            return str(node.value.value)
    message = "gateway/__init__.py assigns no version"
    raise LookupError(message)


def metadata_folder() -> str:
    return f"tun_gateway-{version()}.dist-info"


def test_the_version_is_written_once() -> None:
    assert "version" in PROJECT["project"]["dynamic"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "gateway.__version__"}


@pytest.mark.parametrize("program", [["gateway", "-V"], ["python", "-m", "gateway", "-V"]])
def test_the_gateway_starts_from_a_fresh_environment(installed: Path, program: list[str]) -> None:
    assert version() in run(str(installed / program[0]), *program[1:])


def test_gateway_ctl_starts_from_a_fresh_environment(installed: Path) -> None:
    assert version() in run(str(installed / "gateway-ctl"), "--version")


def test_the_compiled_modules_load_from_a_fresh_environment(installed: Path) -> None:
    names = ", ".join(extension["name"] for extension in extensions())
    run(str(installed / "python"), "-c", f"import {names}")


def test_the_readme_has_every_extra() -> None:
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("| Extra | For |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {word.strip(" `") for row in rows for word in row.split(",")}
    assert named == PROJECT["project"]["optional-dependencies"].keys()


def test_everything_that_is_needed_is_locked() -> None:
    locked = {line.partition("==")[0].lower() for line in LOCK.read_text().splitlines()}
    assert {name.lower() for name in DEPENDENCIES | EXTRAS} <= locked


def test_every_locked_requirement_is_exact() -> None:
    lines = LOCK.read_text().splitlines()
    assert all("==" in line for line in lines if line and not line.startswith("#"))


def test_the_supported_pythons_are_listed_alike() -> None:
    spec = importlib.util.spec_from_file_location("interpreters", ROOT / "tools/interpreters.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules["interpreters"] = found
    spec.loader.exec_module(found)
    prefix = "Programming Language :: Python :: 3."
    classifiers = [
        line.rpartition(" ")[2]
        for line in PROJECT["project"]["classifiers"]
        if line.startswith(prefix)
    ]
    assert list(found.MINORS) == classifiers
    environments = ",".join(minor.replace("3.", "3") for minor in found.MINORS)
    assert f"py{{{environments}}}" in (ROOT / "tox.ini").read_text()
