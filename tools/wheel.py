"""The step of a build by which a wheel has ``knarr.services`` where a checkout has ``services``: docs/decisions/package.md says why.

Loaded by setuptools alone, which is all it may need.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path

from setuptools.command.build_py import build_py
from setuptools.command.egg_info import egg_info

PACKAGE, HOME = "services", "knarr"
# What could not be told from a variable of that name.
_BARE = re.compile(rf"^[ \t]*(?:from {PACKAGE} import|import {PACKAGE}\b)", re.MULTILINE)


def moved(text: str, rooms: Collection[str]) -> str:
    """A module's text with the names that modules have in a wheel; ``rooms`` are the packages in ``services``.

    Imports, texts by which modules are loaded or started, and words about them: all begin with the dotted name of a room, which a
    text may have in braces. Raises ValueError where a module is imported otherwise.
    """
    if found := _BARE.search(text):
        raise ValueError(f"{found[0].strip()!r}: say `from {PACKAGE}.<room> import …`, which a wheel can be made of")
    return re.sub(rf"(?<![\w./]){PACKAGE}\.(?=(?:{'|'.join(sorted(rooms))})\b|{{)", f"{HOME}.{PACKAGE}.", text)


class BuildPy(build_py):
    """Copies the modules as ever, those of a wheel by their names there. An editable installation shows the checkout as it is."""

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return
        built = Path(self.build_lib)
        # Of an earlier build there may be what is no more.
        for name in (PACKAGE, HOME):
            shutil.rmtree(built / name, ignore_errors=True)
        super().run()
        rooms = [path.name for path in (built / PACKAGE).iterdir() if path.is_dir()]
        for path in built.rglob("*.py"):
            path.write_text(moved(path.read_text("utf-8"), rooms), "utf-8")
        (built / PACKAGE).rename(built / HOME / PACKAGE)


class EggInfo(egg_info):
    """Tells of the packages at the top those alone that a wheel has."""

    def run(self) -> None:
        super().run()
        (Path(self.egg_info) / "top_level.txt").write_text(f"{HOME}\n")
