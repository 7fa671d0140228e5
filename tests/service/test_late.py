"""Modules that are loaded for the first who needs them."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

import pytest

from knarr.service.late import loaded


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
