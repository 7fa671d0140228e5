"""What Linux tells in /proc, and in files like those. Raises OSError where a file is not there, ValueError where it says something else."""

from __future__ import annotations

from pathlib import Path

PROC = Path("/proc")
KIB = 1024
# Where in a line of net/dev the figures begin of what was sent, and how many of them are told of either way.
SENT, FIGURES = 8, 4


def meminfo(proc: Path = PROC) -> dict[str, int]:
    """What the kernel says of memory, bytes by its names."""
    lines = (proc / "meminfo").read_text().splitlines()
    return {line.partition(":")[0]: int(line.split()[1]) * KIB for line in lines}


def processes(proc: Path = PROC) -> int:
    """How many there are, threads counted, as the kernel does where it limits them."""
    return int((proc / "loadavg").read_text().split()[3].partition("/")[2])


def max_processes(proc: Path = PROC) -> int:
    """How many there may be at once."""
    return min(int((proc / "sys/kernel" / name).read_text()) for name in ("pid_max", "threads-max"))


def table(file: Path) -> dict[str, int]:
    """Of a file like vmstat, or like those of control groups: a name and a figure on each line."""
    return {name: int(figure) for name, figure in (line.split() for line in file.read_text().splitlines())}


def has_capabilities(*numbers: int) -> bool:
    """Whether this process has each of them (capability.h)."""
    status = (PROC / "self" / "status").read_text()
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return all(int(effective, 16) >> number & 1 for number in numbers)


def interfaces(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """Each interface in a file like net/dev, with what it received and what it sent: bytes, packets, errors, dropped ones. Pure."""
    found = []
    for line in text.splitlines():
        name, colon, rest = line.partition(":")
        figures = [int(figure) for figure in rest.split()] if colon else []
        if len(figures) >= SENT + FIGURES:
            found.append((name.strip(), (*figures[:FIGURES], *figures[SENT : SENT + FIGURES])))
    return found
