"""The sandbox's image: one static program of a few hundred bytes that waits and lets the kernel reap orphans.

It is written here byte by byte for x86-64 and ARM's 64 bits, because no registry may answer and no compiler may be
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
# Of ELF; of the kernel's interface, whose numbers of calls are ARM's; of ARM's instructions.
X86_64, AARCH64 = 62, 183
SIGCHLD, SIG_IGN, RT_SIGACTION, PPOLL = 17, 1, 134, 73
SYSTEM_CALL = 0xD4000001
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
    return _elf(X86_64, code + struct.pack("<QQQQ", SIG_IGN, 0, 0, 0), alignment=0x1000)


def aarch64_program() -> bytes:
    """The same for ARM's 64 bits, which have no ``pause``: ``ppoll(0, 0, 0, 0)`` waits as long. Instructions of four bytes each."""
    before_address = [_move(0, SIGCHLD)]
    after_address = [_move(2, 0), _move(3, 8), _move(8, RT_SIGACTION), SYSTEM_CALL]
    waiting = [_move(0, 0), _move(1, 0), _move(2, 0), _move(3, 0), _move(8, PPOLL), SYSTEM_CALL]
    # Back to the first of them; then one that is not reached, for what follows begins at a multiple of eight.
    again = [0x14000000 | (-len(waiting) & 0x3FFFFFF), 0]
    distance = 1 + len(after_address) + len(waiting) + len(again)
    code = [*before_address, 0x10000000 | distance << 5 | 1, *after_address, *waiting, *again]
    # Its kernels may have pages of 64 KB.
    return _elf(AARCH64, struct.pack(f"<{len(code)}I", *code) + struct.pack("<QQQQ", SIG_IGN, 0, 0, 0), alignment=0x10000)


def _move(register: int, value: int) -> int:
    """A small number into one of the registers x0 to x30."""
    return 0xD2800000 | value << 5 | register


def _elf(machine: int, content: bytes, alignment: int) -> bytes:
    """A program that is loaded as it lies in the file, and begins with what it does."""
    size, entry = HEADER_BYTES + len(content), LOAD_ADDRESS + HEADER_BYTES
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, LOAD_ADDRESS, LOAD_ADDRESS, size, size, alignment)
    return header + segment + content


def pause_program() -> tuple[bytes, tuple[str, ...]]:
    """The program and its command. Raises RuntimeFailure that says what to install."""
    made = {"x86_64": x86_64_program, "aarch64": aarch64_program, "arm64": aarch64_program}.get(platform.machine())
    if made is not None:
        return made(), ("/pause",)
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
