"""What `make test` prepares before tox starts."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[3] / "tools"


@pytest.fixture
def matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/matrix.py, working in an empty folder."""
    monkeypatch.syspath_prepend(str(TOOLS))
    spec = importlib.util.spec_from_file_location("matrix", TOOLS / "matrix.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delitem(sys.modules, "interpreters")
    monkeypatch.setattr(module, "WORK", tmp_path / ".tox")
    return module


@pytest.mark.parametrize("there", [False, True], ids=["new", "of an earlier run"])
def test_nobody_else_can_change_its_folder(matrix: ModuleType, *, there: bool) -> None:
    """Where the umask gives the group more than the checkout does, tox would empty it."""
    before = os.umask(0o002)
    try:
        if there:
            matrix.WORK.mkdir()
        matrix.keep_others_out()
        (matrix.WORK / "results").mkdir()
    finally:
        os.umask(before)
    assert matrix.WORK.stat().st_mode & 0o777 == 0o755
    assert (matrix.WORK / "results").stat().st_mode & 0o777 == 0o755
