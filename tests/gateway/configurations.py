"""Whether HAProxy takes a configuration."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from services.gateway.haproxy import mirrors
from services.gateway.haproxy.frontends import INNER
from services.gateway.haproxy.program import CONFIGURATION, Reload
from tests.gateway.world import HAPROXY

ENVIRONMENT = {"KNARR_ADMIN": "a.sock", INNER: "i", mirrors.SOCKET: "m", mirrors.MOST: str(mirrors.MOST_BYTES)}


def refusal(folder: Path, change: Reload) -> str:
    """What HAProxy says against it, with the lines that it speaks of; empty when it takes it."""
    for name, text in change.files.items():
        (folder / name).write_text(text)
    checked = subprocess.run(
        [HAPROXY or "", "-c", "-f", CONFIGURATION],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, **ENVIRONMENT},
        check=False,
    )
    if checked.returncode == 0:
        return ""
    lines = change.files[CONFIGURATION].splitlines()
    spoken_of = [lines[int(number) - 1] for number in re.findall(rf"{re.escape(CONFIGURATION)}:(\d+)", checked.stderr)]
    return "\n".join([f"haproxy ended with {checked.returncode}", checked.stderr, *spoken_of])
