"""The cluster of compose.yaml under a project name, addresses and a kubeconfig of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.cluster_client import BIN, ROOT, ClusterClient, run
from tests.support.ports import free_port

PROJECT = "knarr-test"
NETWORK = "172.28.97"
COMMAND_SECONDS = 300.0
NODES = {"node-1": f"{NETWORK}.11", "node-2": f"{NETWORK}.12"}


class ComposeCluster(ClusterClient):
    """``up`` and ``down`` as a person does it; ``docker`` and ``compose`` for what a person might do in between."""

    def __init__(self, folder: Path) -> None:
        own = {
            "KNARR_COMPOSE_NAME": PROJECT,
            "KNARR_COMPOSE_DIR": str(folder),
            "KNARR_NETWORK": NETWORK,
            "KNARR_API_PORT": str(free_port()),
            "KNARR_WEB_PORT": str(free_port()),
            # Those that this checkout's own cluster has grown by do not count.
            "COMPOSE_PROFILES": "",
        }
        super().__init__(folder, environment=own)

    def compose(self, *arguments: str) -> str:
        return self._run(["docker", "compose", "--progress", "quiet", *arguments])

    @property
    def grpcurl(self) -> list[str]:
        """What asks components as the administrator, by certificate."""
        own = [f"-{option}={self.data_dir / file}" for option, file in (("cacert", "ca.crt"), ("cert", "admin.crt"), ("key", "admin.key"))]
        return [str(BIN / "grpcurl"), *own]

    def docker(self, *arguments: str) -> str:
        return self._run(["docker", *arguments])

    def shell(self, line: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """What a person types, redirections included."""
        return run(["bash", "-c", line], check=check, environment=self.environment)

    def in_node(self, node: str, *arguments: str) -> str:
        """The output of a command in the node's container."""
        return self._run(["docker", "compose", "exec", "-T", node, *arguments])

    def engine(self, node: str, *arguments: str) -> str:
        """The answer of the node's own engine."""
        return self.in_node(node, "docker", "--host", "unix:///run/knarr/docker.sock", *arguments)

    def knarr_load(self, *images: str) -> str:
        code = "from services.command.main import main; main()"
        return self._run([sys.executable, "-c", code, "load", "--project", PROJECT, *images])

    def _run(self, command: list[str]) -> str:
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS, cwd=ROOT, env=environment)
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout}{done.stderr}\n{self.describe()}")
        return done.stdout

    def up(self) -> None:
        self.compose("up", "--detach", "--wait", "--wait-timeout", "120")

    def containers(self, *more: str) -> list[dict[str, Any]]:
        """What the engine knows of the project's containers."""
        ids = self.docker("ps", "-q", "--filter", f"label=com.docker.compose.project={PROJECT}", *more).split()
        return list(json.loads(self.docker("inspect", *ids))) if ids else []

    def ready_nodes(self) -> set[str]:
        nodes = self.get("nodes")["items"]
        return {node["metadata"]["name"] for node in nodes if _condition(node, "Ready") == "True"}

    def down(self) -> None:
        """Takes everything away; an AssertionError names what stayed."""
        self.compose("--profile", "*", "down", "--volumes", "--timeout", "15")
        left = self.leftovers()
        assert not left, f"`docker compose down -v` left {left}"

    def leftovers(self) -> list[str]:
        """What the project has on the engine."""
        label = f"label=com.docker.compose.project={PROJECT}"
        lists = {"container": ["ps", "-aq"], "network": ["network", "ls", "-q"], "volume": ["volume", "ls", "-q"]}
        return [f"{kind} {name}" for kind, words in lists.items() for name in self.docker(*words, "--filter", label).split()]

    def logs(self) -> list[str]:
        done = subprocess.run(
            ["docker", "compose", "logs", "--no-color", "--tail", "8"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=ROOT,
            env={**os.environ, **self.environment},
        )
        return done.stdout.splitlines()


def _condition(found: dict[str, Any], kind: str) -> str:
    return next((str(entry["status"]) for entry in found["status"].get("conditions", []) if entry["type"] == kind), "")
