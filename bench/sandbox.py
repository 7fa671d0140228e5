"""Network and process namespaces of a measure's own: whatever it starts ends with it, and no packet leaves the machine."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 180
# Ranges of a cluster: what no rule and no other route catches is refused at once.
RANGES = ("10.96.0.0/16", "10.244.0.0/16")
LAST_RESORT = "4100000000"


async def inside(module: str, *arguments: str, tools: tuple[str, ...] = (), seconds: float = TIMEOUT_SECONDS) -> dict[str, Any]:
    """What ``python -m module ARGUMENTS --inside`` prints as JSON, run in namespaces of its own.

    RuntimeError when a tool is missing or the measure fails.
    """
    missing = [tool for tool in ("unshare", "ip", *tools) if shutil.which(tool, path=_path()) is None]
    if missing:
        raise RuntimeError(f"missing for this measure: {', '.join(missing)}; scripts/install.sh --bench installs them")
    child = await asyncio.create_subprocess_exec(
        "unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-m", module, *arguments, "--inside",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, "PATH": _path()},
    )  # fmt: skip
    try:
        async with asyncio.timeout(seconds):
            output, errors = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise RuntimeError(f"the measure failed: {errors.decode().strip()[-2000:]}")
    measured: dict[str, Any] = json.loads(output)
    return measured


async def prepare() -> None:
    """Makes the namespace that this process is in fit for load: loopback, refusals, ports, descriptors."""
    await command("ip", "link", "set", "lo", "up")
    for cidr in RANGES:
        await command("ip", "route", "add", "unreachable", cidr, "metric", LAST_RESORT)
    _tune()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _tune() -> None:
    for name, value in (("ip_local_port_range", "1024 65535"), ("tcp_tw_reuse", "1"), ("tcp_max_syn_backlog", "8192")):
        Path(f"/proc/sys/net/ipv4/{name}").write_text(value)


async def command(*words: str) -> str:
    """Runs a command to its end; RuntimeError with what it said when it fails."""
    child = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    output, _ = await child.communicate()
    if child.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {output.decode().strip()}")
    return output.decode()


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
