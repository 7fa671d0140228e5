"""Modules that are loaded for the first who needs them."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
from pathlib import Path

import pytest

from knarr.service.late import loaded, postpone


async def test_it_is_loaded_once_and_never_in_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "come_late.py").write_text("import threading\nthread = threading.current_thread().name\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        found = await asyncio.gather(*(loaded("come_late") for _ in range(8)))
        assert {id(one) for one in found} == {id(sys.modules["come_late"])}
        assert found[0].thread != threading.current_thread().name
        assert await loaded("come_late") is found[0]
    finally:
        sys.modules.pop("come_late", None)


async def test_one_that_is_not_there_is_told_by_its_name() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_ours"):
        await loaded("no_such_module_of_ours")


def test_what_a_package_brings_along_waits_for_who_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "postponed"
    folder.mkdir()
    (folder / "__init__.py").write_text("from postponed.part import Part\nfrom postponed.burden import Burden\n")
    (folder / "part.py").write_text("class Part: ...\n")
    (folder / "burden.py").write_text("class Burden: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    postpone("postponed", {"Part": "postponed.part"})
    try:
        part, package = importlib.import_module("postponed.part"), importlib.import_module("postponed")
        assert package.Part is part.Part
        assert "postponed.burden" not in sys.modules
        assert package.Burden.__name__ == "Burden"
        assert package.Part is part.Part
        with pytest.raises(AttributeError, match="nothing"):
            package.nothing  # noqa: B018
        # It is there by now, and stays as it is.
        postpone("postponed", {})
        assert importlib.import_module("postponed") is package
    finally:
        for name in ("postponed", "postponed.part", "postponed.burden"):
            sys.modules.pop(name, None)


def test_a_package_that_is_missing_is_told_by_its_import() -> None:
    postpone("nonesuch_package", {})
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("nonesuch_package")
