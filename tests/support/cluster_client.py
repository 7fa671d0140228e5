"""A cluster as its user sees it: through kubectl and a kubeconfig."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.support import matrix

T = TypeVar("T")

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parent.parent.parent
WAIT_SECONDS = 60.0


@dataclass
class ClusterClient:
    """``data_dir`` holds the kubeconfig; ``environment`` is added to that of every command."""

    data_dir: Path
    environment: dict[str, str] = field(default_factory=dict, kw_only=True)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        path = str(BIN / "kubectl")
        command = [path, "--kubeconfig", str(self.data_dir / "kubeconfig"), *arguments]
        done = run(command, check=check, stdin=stdin, environment=self.environment)
        matrix.ran(path, arguments, done.returncode)
        return done

    def apply(self, manifest: str | dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin=manifest if isinstance(manifest, str) else json.dumps(manifest))

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)

    def pods(self, selector: str, namespace: str = "default") -> list[dict[str, Any]]:
        """The selected pods that are not being deleted."""
        found = self.get("pods", "-n", namespace, "-l", selector)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready_pods(self, selector: str, namespace: str = "default") -> list[dict[str, Any]]:
        return [pod for pod in self.pods(selector, namespace) if is_ready(pod)]

    def wait_for(self, what: str, condition: Callable[[], T | None], seconds: float = WAIT_SECONDS) -> T:
        """Polls until the condition is truthy; the failure says what was waited for and shows the cluster."""
        deadline = time.monotonic() + seconds
        while True:
            answer = condition()
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds:.0f} s in vain for {what}\n{self.describe()}")
            time.sleep(0.05)

    def describe(self) -> str:
        """Pods, events and the end of the log, for a failure's message."""
        pods = self.kubectl("get", "pods", "-A", "-o", "wide", check=False)
        events = self.kubectl("get", "events", "-A", check=False)
        return "\n".join([pods.stdout, pods.stderr, events.stdout, *self.logs()])

    def logs(self) -> list[str]:
        """The ends of the logs."""
        return []


def run(
    command: list[str], *, check: bool = True, stdin: str | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    full = {**os.environ, **(environment or {})}
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT, env=full)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def is_ready(pod: dict[str, Any]) -> bool:
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in pod["status"].get("conditions", []))


def container_id(pod: dict[str, Any], number: int = 0) -> str:
    """The engine's id of a container, without the runtime's name."""
    return str(pod["status"]["containerStatuses"][number]["containerID"]).partition("://")[2]
