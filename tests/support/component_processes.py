"""Components of a cluster as processes of their own, on loopback: how they are started, ended and told about."""

from __future__ import annotations

import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from tests.support.cluster_client import ROOT, ClusterClient
from tests.support.etcd import EtcdServer
from tests.support.knarr_cluster import free_offset
from tests.support.ports import free_port

LOOPBACK = "127.0.0.1"
STOP_SECONDS = 20.0


class ComponentProcesses(ClusterClient, ABC):
    """``start`` by the names of ``parts``, each of which has a port of its own; ``stop`` ends all.

    ``etcd`` is made by the cluster that knows its certificates.
    """

    etcd: EtcdServer

    def __init__(self, folder: Path, parts: Iterable[str]) -> None:
        super().__init__(folder)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = {part: free_port() for part in parts}
        self.rest, self.mutual = free_port(), free_port()
        offset = free_offset()
        self._services, self._pods = f"10.{100 + offset}.0.0/16", f"10.{150 + offset}.0.0/16"

    @abstractmethod
    def options(self, part: str) -> list[str]:
        """What python is started with: the module and its command line."""

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return f"https://{LOOPBACK}:{self.rest}"

    @property
    def ranges(self) -> list[str]:
        return [f"--service-cidr={self._services}", f"--cluster-cidr={self._pods}"]

    @property
    def apiserver_options(self) -> list[str]:
        listening = [f"--rest-listen={LOOPBACK}:{self.rest}", f"--mutual-listen={LOOPBACK}:{self.mutual}"]
        return [f"--etcd={self.etcd.endpoint}", *listening, f"--service-cidr={self._services}"]

    def kubelet_options(self, node: str) -> list[str]:
        """Those of a kubelet without an engine, whose node has the first of the ranges for pods."""
        where = [f"--data-dir={self.data_dir / 'kubelet'}", f"--node-name={node}", f"--node-ip={LOOPBACK}"]
        return ["--runtime=hollow", *where, f"--pod-cidr={self._pods.replace('/16', '/24')}"]

    def address(self, part: str) -> str:
        return f"{LOOPBACK}:{self.ports[part]}"

    def start(self, *parts: str) -> None:
        """Starts components and returns at once: they wait for one another themselves."""
        for part in parts:
            with (self.data_dir / f"{part}.log").open("ab") as log:
                self.processes[part] = subprocess.Popen([sys.executable, *self.options(part)], stdout=log, stderr=log, cwd=ROOT)

    def kill(self, part: str) -> None:
        """Ends a component without warning."""
        self._end(part, signal.SIGKILL)

    def terminate(self, part: str) -> int:
        """Asks a component to end; its exit code."""
        return self._end(part, signal.SIGTERM)

    def _end(self, part: str, number: signal.Signals) -> int:
        process = self.processes.pop(part)
        process.send_signal(number)
        # Also one that was stopped hears it.
        process.send_signal(signal.SIGCONT)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def stop(self) -> None:
        """Ends all of them, the API server and etcd last."""
        with ExitStack() as stack:
            stack.callback(self.etcd.stop)
            for part in sorted(self.processes, key=lambda part: part != "apiserver"):
                stack.callback(self.terminate, part)

    def logs(self) -> list[str]:
        return [f"{path.stem}: {line}" for path in sorted(self.data_dir.glob("*.log")) for line in path.read_text().splitlines()[-15:]]
