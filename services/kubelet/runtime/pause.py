"""The sandbox's image: one static program of a few hundred bytes that waits and lets the kernel reap orphans.

It is written here byte by byte for x86-64, because no registry may answer and no compiler may be
there. On other processors a static busybox (or the host's C compiler) does the same.
"""

from __future__ import annotations

import io
import platform
import shutil
import struct
import subprocess
import tarfile
import tempfile
from pathlib import Path

from services.kubelet.runtime.port import RuntimeFailure

REPOSITORY, TAG = "knarr/pause", "1"
PAUSE_IMAGE = f"{REPOSITORY}:{TAG}"
LOAD_ADDRESS = 0x400000
HEADER_BYTES = 64 + 56
SOURCE = """#include <signal.h>
#include <unistd.h>
int main(void) { signal(SIGCHLD, SIG_IGN); for (;;) pause(); }
"""
HELP = "no pause program for this processor: install busybox-static, or gcc with a static C library"


def x86_64_program() -> bytes:
    """An ELF file: ``rt_sigaction(SIGCHLD, {SIG_IGN}, 0, 8)``, then ``pause()`` for ever."""
    before_address = b"\xbf\x11\x00\x00\x00"
    after_address = (
        b"\x31\xd2\x41\xba\x08\x00\x00\x00\xb8\x0d\x00\x00\x00\x0f\x05"  # edx=0, r10=8, rt_sigaction
        b"\xb8\x22\x00\x00\x00\x0f\x05\xeb\xf7"  # pause, again
    )
    displacement = struct.pack("<i", len(after_address))
    code = before_address + b"\x48\x8d\x35" + displacement + after_address
    action = struct.pack("<QQQQ", 1, 0, 0, 0)
    size = HEADER_BYTES + len(code) + len(action)
    entry = LOAD_ADDRESS + HEADER_BYTES
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, LOAD_ADDRESS, LOAD_ADDRESS, size, size, 0x1000)
    return header + segment + code + action


def pause_program() -> tuple[bytes, tuple[str, ...]]:
    """The program and its command. Raises RuntimeFailure that says what to install."""
    if platform.machine() == "x86_64":
        return x86_64_program(), ("/pause",)
    busybox = next((path for path in (Path("/bin/busybox"), Path("/usr/bin/busybox")) if path.exists()), None)
    if busybox is not None:
        return busybox.read_bytes(), ("/pause", "sleep", "2147483647")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeFailure(HELP)
    return _compiled(compiler), ("/pause",)


def _compiled(compiler: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "pause.c"), Path(folder, "pause")
        source.write_text(SOURCE)
        done = subprocess.run([compiler, "-static", "-Os", "-o", target, source], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeFailure(f"{HELP} ({done.stderr.strip()})")
        return target.read_bytes()


def pause_archive(program: bytes) -> bytes:
    """The image's files as a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("pause")
        entry.mode, entry.size = 0o755, len(program)
        archive.addfile(entry, io.BytesIO(program))
    return buffer.getvalue()
