"""What is named in requirements*.in is locked: everything is installed from the lock."""

from __future__ import annotations

import re

from tests.support.cluster_client import ROOT


def names_in(file: str) -> set[str]:
    lines = (ROOT / file).read_text().splitlines()
    return {re.sub(r"[-_.]+", "-", found[0]).lower() for line in lines if (found := re.match(r"[A-Za-z0-9][\w.-]*", line))}


def test_every_named_library_is_locked() -> None:
    assert names_in("requirements.in") | names_in("requirements-dev.in") <= names_in("requirements.lock")
