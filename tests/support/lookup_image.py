"""The image `knarr-lookup:1`: the example image with `getent`, which looks names up as the C library of most programs does."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.engine import IMAGE as BASE
from tests.support.engine import ensure_image

IMAGE = "knarr-lookup:1"
BUILD_SECONDS = 60
_LIBRARY = re.compile(r"(/\S+) \(0x")


def ensure_lookup_image() -> None:
    """Builds it where it is missing."""
    if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False, timeout=BUILD_SECONDS).returncode == 0:
        return
    ensure_image()
    program = shutil.which("getent")
    assert program is not None, "getent is missing: it is part of the C library's tools"
    libraries = _LIBRARY.findall(subprocess.run(["ldd", program], capture_output=True, text=True, check=True, timeout=10).stdout)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path in (program, *libraries):
            copy = root / "files" / path.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        (root / "files/bin").mkdir(exist_ok=True)
        (root / "files/bin/nslookup").symlink_to("busybox")
        (root / "Dockerfile").write_text(f"FROM {BASE}\nCOPY files/ /\n")
        subprocess.run(["docker", "build", "-q", "-t", IMAGE, folder], capture_output=True, check=True, timeout=BUILD_SECONDS)
