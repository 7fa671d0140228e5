"""The clusters that tests are given: in this process and simulated, or as `knarr up` starts them on an engine."""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from knarr.pytest.access import Access, Conflict, NotFound
from knarr.pytest.faults import Faults, FaultyFace
from knarr.service.errors import CommandError
from services.standalone.files import Files
from services.standalone.in_process import InProcess
from services.standalone.settings import ClusterSettings, Ports

# Chosen by the system, so that clusters do not meet.
FREE_PORTS = Ports(**{field.name: 0 for field in dataclasses.fields(Ports)})
# What only containers would use.
UNUSED = frozenset({"proxy", "dns", "gateway"})
# A pod is refused in a namespace without its ServiceAccount, which a controller makes.
ACCOUNT_SECONDS, POLL_SECONDS = 10.0, 0.005


class AnyCluster:
    """What all flavours have. ``api`` asks it as its admin; ``faults`` is None where none can be injected."""

    faults: Faults | None = None

    def __init__(self, files: Files) -> None:
        self.files = files
        self.api = Access(files)

    @property
    def kubeconfig(self) -> Path:
        """The admin's."""
        return self.files.kubeconfig

    def kubeconfig_in(self, namespace: str) -> bytes:
        """The same with a namespace that is meant where none is named."""
        config: dict[str, Any] = orjson.loads(self.kubeconfig.read_bytes())
        for context in config["contexts"]:
            context["context"]["namespace"] = namespace
        return orjson.dumps(config)

    def make_namespace(self) -> str:
        """Answers its name once pods may be created in it."""
        name = f"test-{secrets.token_hex(4)}"
        self.api.request("POST", "/api/v1/namespaces", {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}})
        deadline = time.monotonic() + ACCOUNT_SECONDS
        while True:
            try:
                self.api.request("GET", f"/api/v1/namespaces/{name}/serviceaccounts/default")
                return name
            except NotFound:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)

    def delete_namespace(self, name: str) -> None:
        """Without waiting until it is empty; one that is gone already, or going, is left at that."""
        with suppress(NotFound, Conflict):
            self.api.request("DELETE", f"/api/v1/namespaces/{name}")

    def stop(self) -> None:
        """Ends it, and leaves nothing."""
        shutil.rmtree(self.files.root, ignore_errors=True)


class HollowCluster(AnyCluster):
    """In this process, with simulated containers. ``took`` says how long its start was, loading told apart."""

    def __init__(self, settings: ClusterSettings) -> None:
        face = FaultyFace()
        self._within = InProcess(settings, face=face.before, without=UNUSED)
        self.took = self._within.start()
        super().__init__(settings.files)
        self.faults = Faults(self._within, face, settings.node)

    def stop(self) -> None:
        self._within.stop()
        super().stop()


class DockerCluster(AnyCluster):
    """As `knarr up` starts it: on this machine's engine, as root."""

    def __init__(self, settings: ClusterSettings) -> None:
        from services.standalone import process
        from services.standalone.lock import held
        from services.standalone.options import options_of
        from services.standalone.preflight import problems

        self._settings, files = settings, settings.files
        files.prepare()
        if found := list(problems(settings)):
            raise CommandError("the cluster cannot start:\n" + "\n".join(f"  - {problem}" for problem in found))
        with held(files.root) as lock:
            process.start(files, options_of(settings), lambda step, seconds: None, lock)
        super().__init__(files)

    def stop(self) -> None:
        from services.standalone import process
        from services.standalone.cleanup import remove_everything

        process.stop(self.files)
        list(remove_everything(self._settings))
        super().stop()


def start(flavour: str, store: str, nodes: int) -> AnyCluster:
    """A cluster whose node is ready. Raises CommandError where it cannot be had."""
    # A path that a socket's name has room for.
    folder = Path(tempfile.mkdtemp(prefix="knarr-"))
    try:
        if flavour == "docker":
            return DockerCluster(_on_engine(folder, _worker_number()))
        settings = ClusterSettings(
            data_dir=folder, store=store, runtime="hollow", datapath="userspace", ports=FREE_PORTS, node_name="node", nodes=nodes,
            audit_log_path="none",
        )  # fmt: skip
        return HollowCluster(settings)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _on_engine(folder: Path, number: int) -> ClusterSettings:
    """With ranges of addresses that no other worker's cluster has."""
    first = number * 4
    return ClusterSettings(
        data_dir=folder, runtime="docker", ports=FREE_PORTS, service_cidr=f"10.98.{first}.0/22", cluster_cidr=f"10.100.{first}.0/22",
        pod_cidr=f"10.100.{first}.0/24", load_balancer_pool=f"10.99.{first}.0/24", audit_log_path="none",
    )  # fmt: skip


def _worker_number() -> int:
    """Which of xdist's workers this is, from 0 on; 0 without xdist."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
