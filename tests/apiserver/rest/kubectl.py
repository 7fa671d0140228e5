"""The real kubectl as a subprocess."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.apiserver.rest.live import LiveServer
from tests.support import matrix

KUBECTL = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or "kubectl"
TIMEOUT_SECONDS = 30.0

# One that most tests are content with.
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "nginx:1", ports: [{containerPort: 80}]}]}
"""


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Kubectl:
    """Runs kubectl in one namespace of a live server. Its caches live beside the kubeconfig."""

    def __init__(self, server: LiveServer, namespace: str, binary: str = KUBECTL) -> None:
        self.server = server
        self.namespace = namespace
        self._binary = binary
        self._environment = {
            "KUBECONFIG": str(server.kubeconfig), "HOME": str(server.folder), "PATH": os.environ["PATH"],
            "KUBECACHEDIR": str(server.folder / "kubectl-cache"),
        }  # fmt: skip

    @property
    def version(self) -> tuple[int, int]:
        major, minor = matrix.version_of(self._binary).split(".")
        return int(major), int(minor)

    async def start(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        """One that goes on; whoever starts it asks whether it does what it should."""
        matrix.ran(self._binary, arguments, 0)
        return await self._spawn(*arguments, **environment)

    async def _spawn(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        found = {**self._environment, **environment}
        command = (self._binary, "--namespace", self.namespace, *arguments)
        return await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, env=found)

    async def try_(self, *arguments: str, stdin: str = "", **environment: str) -> Result:
        """Runs to the end, however it ends."""
        process = await self._spawn(*arguments, **environment)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                out, err = await process.communicate(stdin.encode())
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        matrix.ran(self._binary, arguments, process.returncode)
        return Result(process.returncode, out.decode(), err.decode())

    async def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> Result:
        """Runs and must succeed."""
        result = await self.try_(*arguments, stdin=stdin, **environment)
        assert result.code == 0, f"kubectl {' '.join(arguments)}: {result.err}"
        return result

    async def refused(self, *arguments: str, stdin: str = "") -> str:
        """Runs and must fail; the words that the user sees."""
        result = await self.try_(*arguments, stdin=stdin)
        assert result.code != 0, result.out
        return result.err
