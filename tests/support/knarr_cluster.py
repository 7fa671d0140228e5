"""A cluster of a test's own, driven from outside by the ``knarr`` command and kubectl."""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parent.parent.parent
WAIT_SECONDS = 60.0


@dataclass
class KnarrCluster:
    """``offset`` keeps its ports and ranges apart from those of other clusters on the machine: the first that is free."""

    data_dir: Path
    offset: int = field(default_factory=lambda: free_offset())
    runtime: str = "docker"
    datapath: str = "nftables"
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def ports(self) -> dict[str, int]:
        return ports_of(self.offset)

    @property
    def options(self) -> list[str]:
        ranges = [
            f"--service-cidr=10.{100 + self.offset}.0.0/16",
            f"--cluster-cidr=10.{150 + self.offset}.0.0/16",
            f"--pod-cidr=10.{150 + self.offset}.0.0/24",
        ]
        return [f"--{name}-port={port}" for name, port in self.ports.items()] + ranges

    @property
    def pid(self) -> int:
        return int((self.data_dir / "knarr.pid").read_text().split()[0])

    @property
    def node(self) -> str:
        return str(json.loads((self.data_dir / "state.json").read_text())["node"])

    def knarr(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return _run([str(BIN / "knarr"), *arguments], check=check, environment=self.environment)

    def up(self) -> str:
        choices = ["--data-dir", str(self.data_dir), "--runtime", self.runtime, "--datapath", self.datapath]
        return self.knarr("up", *choices, *self.options).stdout

    def down(self) -> str:
        return self.knarr("down", "--data-dir", str(self.data_dir)).stdout

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / "kubectl"), "--kubeconfig", str(self.data_dir / "kubeconfig"), *arguments]
        return _run(command, check=check, stdin=stdin, environment=self.environment)

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

    def grpcurl(self, component: str, *arguments: str) -> str:
        """Calls a component; ``arguments`` follow the address, options precede it with ``-``."""
        token = (self.data_dir / "token").read_text().strip()
        address = json.loads((self.data_dir / "state.json").read_text())["components"][component]
        options = [argument for argument in arguments if argument.startswith("-d=")]
        rest = [argument for argument in arguments if not argument.startswith("-d=")]
        data = ["-d", options[0][3:]] if options else []
        ca = str(self.data_dir / "pki/ca.crt")
        return _run([str(BIN / "grpcurl"), "-cacert", ca, "-H", f"authorization: Bearer {token}", *data, address, *rest]).stdout

    def wait_for(self, what: str, condition: Callable[[], T], seconds: float = WAIT_SECONDS) -> T:
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
        log = (self.data_dir / "knarr.log").read_text().splitlines()[-40:]
        return "\n".join([pods.stdout, pods.stderr, events.stdout, *log])


PORT_NAMES = ("rest", "apiserver", "kubelet", "proxy", "controller", "scheduler")
OFFSETS = range(1, 40)


def ports_of(offset: int) -> dict[str, int]:
    return {name: 23000 + 10 * offset + number for number, name in enumerate(PORT_NAMES)}


def free_offset() -> int:
    """The first offset whose ports and ranges nobody uses; it is taken for as long as this process lives."""
    for offset in OFFSETS:
        # An abstract socket is a lock that goes with its owner.
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0knarr-test-cluster-{offset}")
        except OSError:
            lock.close()
            continue
        _locks.append(lock)
        return offset
    raise AssertionError("every offset for a test's cluster is taken; end other test runs on this machine")


_locks: list[socket.socket] = []


@atexit.register
def _release() -> None:
    for lock in _locks:
        lock.close()


def _run(
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
