"""The bundle is what its sources make, and a change of them is noticed without making it anew."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tools.page import WEB, bundled_hash, sources_hash


def test_the_bundle_is_made_of_the_sources() -> None:
    assert bundled_hash() == sources_hash()


def test_any_change_of_the_sources_is_noticed(tmp_path: Path) -> None:
    front = tmp_path / "front"
    shutil.copytree(WEB / "front", front, ignore=shutil.ignore_patterns("node_modules"))
    assert sources_hash(front) == sources_hash()
    with (front / "src" / "words.ts").open("a") as file:
        file.write("\n")
    assert sources_hash(front) != sources_hash()
    assert bundled_hash(tmp_path / "none.js") == ""


def test_the_bundle_fetches_nothing_from_elsewhere_and_the_lock_file_tells_no_registry() -> None:
    text = "".join(path.read_text() for path in (WEB / "bundle").iterdir() if path.name != "licenses.txt")
    assert set(re.findall(r"https?://[\w.-]+", text)) <= {"http://www.w3.org"}
    assert '"resolved"' not in (WEB / "front" / "package-lock.json").read_text()
