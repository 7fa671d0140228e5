"""The program of sandboxes: it waits, lets the kernel reap, and is written for two kinds of processors."""

from __future__ import annotations

import platform
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest

from services.kubelet.runtime import pause
from services.kubelet.runtime.pause import HEADER_BYTES, LOAD_ADDRESS, aarch64_program, pause_program, x86_64_program

EMULATOR = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")


@pytest.mark.parametrize(("program", "machine"), [(x86_64_program, 62), (aarch64_program, 183)])
def test_an_elf_file_that_is_loaded_whole(program: object, machine: int) -> None:
    assert callable(program)
    made = program()
    kind, found, _, entry, segments = struct.unpack_from("<HHIQQ", made, 16)
    assert (made[:5], kind, found, entry, segments) == (b"\x7fELF\x02", 2, machine, LOAD_ADDRESS + HEADER_BYTES, 64)
    assert struct.unpack_from("<QQ", made, 64 + 32) == (len(made), len(made))
    # The action that ignores a signal, at its end, where it is aligned.
    assert made[-32:] == struct.pack("<QQQQ", 1, 0, 0, 0)
    assert machine == 62 or len(made) % 8 == 0


def test_arms_instructions() -> None:
    """As an assembler has them."""
    words = struct.unpack_from("<14I", aarch64_program(), HEADER_BYTES)
    assert [f"{word:08x}" for word in words] == [
        "d2800220",  # mov x0, #17
        "100001a1",  # adr x1, . + 52
        "d2800002",  # mov x2, #0
        "d2800103",  # mov x3, #8
        "d28010c8",  # mov x8, #134: rt_sigaction
        "d4000001",  # svc #0
        "d2800000",  # mov x0, #0
        "d2800001",  # mov x1, #0
        "d2800002",  # mov x2, #0
        "d2800003",  # mov x3, #0
        "d2800928",  # mov x8, #73: ppoll
        "d4000001",  # svc #0
        "17fffffa",  # b . - 24
        "00000000",
    ]


@pytest.mark.parametrize(("machine", "program"), [("x86_64", x86_64_program), ("aarch64", aarch64_program), ("arm64", aarch64_program)])
def test_the_one_of_the_machine(machine: str, program: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(program)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert pause_program() == (program(), ("/pause",))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="for neither is this machine")
def test_it_waits_and_ignores_its_children(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(pause.pause_program()[0])
    program.chmod(0o755)
    with subprocess.Popen([program]) as process:
        try:
            deadline = time.monotonic() + 5
            while not ignores(process.pid, signal.SIGCHLD):
                assert process.poll() is None and time.monotonic() < deadline
            assert process.poll() is None
        finally:
            process.kill()


@pytest.mark.skipif(EMULATOR is None, reason="no qemu-aarch64")
def test_arms_program_does_what_it_should(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(aarch64_program())
    program.chmod(0o755)
    with subprocess.Popen([str(EMULATOR), "-strace", program], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        process.kill()
    assert "rt_sigaction(SIGCHLD" in told and "= 0" in told


def ignores(pid: int, number: int) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigIgn:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False
