"""What a machine shows, for the checks of ``knarr doctor``. Tests give another ``root``, programs and environment."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from services.command.checks.check import NotHere
from services.gateway.haproxy.process import forgotten
from services.kubelet.runtime.catalog import engine_url
from services.kubelet.runtime.docker.engine import Engine
from services.kubelet.runtime.port import RuntimeFailure
from services.standalone import process
from services.standalone.leftovers.traces import Trace, leftovers
from services.standalone.settings import ClusterSettings

ANSWER_SECONDS = 5.0


@dataclass
class Machine:
    """``settings`` are those of the cluster that is to run here; ``root`` is where `/proc` and `/sys` lie."""

    settings: ClusterSettings
    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    user: int = field(default_factory=os.geteuid)

    @property
    def runs(self) -> bool:
        """Whether the cluster has what it needs already: it runs."""
        return process.find(self.settings.files) is not None

    def text(self, path: str) -> str:
        """The content of a file below ``root``; NotHere where it cannot be read."""
        try:
            return (self.root / path.lstrip("/")).read_text(errors="replace").strip()
        except OSError as error:
            raise NotHere(f"{path} cannot be read: {error.strerror}") from None

    def number(self, path: str) -> int:
        text = self.text(path)
        if not text.isdecimal():
            raise NotHere(f"{path} holds no number")
        return int(text)

    def has(self, path: str) -> bool:
        return (self.root / path.lstrip("/")).exists()

    def program(self, name: str) -> str:
        """Where a program lies, also among those of the administrator; empty where there is none."""
        return shutil.which(name, path=f"{self.environment.get('PATH', '')}:/usr/sbin:/sbin") or ""

    def told(self, command: Sequence[str]) -> tuple[int, str]:
        """A command's exit code, and what it wrote; NotHere where it does not end in time."""
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=ANSWER_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotHere(f"{command[0]} does not answer: {error}") from None
        return done.returncode, done.stdout.strip()

    @cached_property
    def engine(self) -> Mapping[str, Any]:
        """What the Docker engine says of itself. NotHere where none is asked for, or none answers."""
        if self.settings.runtime != "docker":
            raise NotHere(f"the cluster uses the runtime {self.settings.runtime}, not a Docker engine")
        try:
            return asyncio.run(_asked(engine_url()))
        except (RuntimeFailure, ValueError) as error:
            raise NotHere(f"no Docker engine answers: {error}") from None

    @cached_property
    def leftovers(self) -> tuple[Sequence[Trace], Sequence[str]]:
        """What is left of clusters that do not run, and what could not be looked at."""
        return leftovers()

    @cached_property
    def forgotten(self) -> Sequence[Path]:
        """Folders of gateways that do not run."""
        return forgotten()


async def _asked(url: str) -> Mapping[str, Any]:
    engine = Engine(url, ANSWER_SECONDS)
    try:
        version, info = await asyncio.gather(engine.request("GET", "version"), engine.request("GET", "info"))
        return {**info, **version}
    finally:
        await engine.close()
