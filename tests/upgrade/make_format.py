"""``python -m tests.upgrade.make_format CHECKOUT NAME``: keeps a cluster as the Knarr in a checkout leaves it, in ``formats/NAME``.

Run it for every change of what is kept on disk, with a checkout of the last commit before the change. It needs etcd, and neither root
nor Docker. Certificates are made to hold for a hundred years, and from long ago, so that a kept cluster does not expire.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.cluster_client import BIN
from tests.upgrade.kept import FORMATS, OBJECTS, PORTS, REFUSED, SETTINGS, TRUST, Api, content

START_SECONDS = 60.0
LASTING = """
import sys
from datetime import timedelta
from knarr.service import certificates
certificates.CA_LIFETIME = certificates.LEAF_LIFETIME = timedelta(days=36500)
certificates.CLOCK_SKEW = timedelta(days=3650)
"""
CLUSTER = LASTING + "from services.standalone.__main__ import main; main()"
COMMAND = LASTING + "from services.standalone.cli import main; raise SystemExit(main())"
COMPOSE_TRUST = LASTING + "from services.standalone.trust import main; main()"
# By what a kubelet recognizes a container that runs already: another hash of the same spec starts it again.
HASHES = """
import json, sys
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
try:
    from services.kubelet.pod.spec import container_hash
except ImportError:
    from services.kubelet.spec import container_hash
pods = {name: codec.from_json(core.Pod, pod).message for name, pod in json.load(sys.stdin).items()}
print(json.dumps({name: [container_hash(spec) for spec in pod.spec.containers] for name, pod in pods.items()}))
"""
# etcd's reserve of log files, all zeros, and what is about the process.
LEFT_OUT = (".sock:0", ".tmp", "etcd.log", "knarr.log", "knarr.pid", "state.json")


def run(checkout: Path, code: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Code of the checkout; its output is this one's."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen([sys.executable, "-P", "-c", code, *arguments], env=environment, cwd=checkout)


def hashes(checkout: Path, found: dict[str, Any]) -> bytes:
    """Of the containers of all pods."""
    pods = {name: {key: value for key, value in obj.items() if key != "path"} for name, obj in found.items() if name.startswith("pods/")}
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", "-c", HASHES]
    return subprocess.run(
        command, input=json.dumps(pods).encode(), check=True, stdout=subprocess.PIPE, env=environment, cwd=checkout
    ).stdout


def wait_until(what: str, condition: Any) -> Any:
    deadline = time.monotonic() + START_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)
    return found


def kubectl(data_dir: Path, *arguments: str, check: bool = True) -> str:
    command = [str(BIN / "kubectl"), "--kubeconfig", str(data_dir / "kubeconfig"), *arguments]
    return subprocess.run(command, check=check, capture_output=True, text=True).stdout


def fill(data_dir: Path) -> dict[str, Any]:
    """Makes the objects, waits until the controllers are done with them, and returns all there is."""
    kubectl(data_dir, "apply", "-f", str(OBJECTS))
    kubectl(data_dir, "apply", "-f", str(REFUSED), check=False)
    # The finalizers keep both.
    kubectl(data_dir, "delete", "namespace", "leaving", "--wait=false")
    kubectl(data_dir, "delete", "pod", "alone", "-n", "kept", "--wait=false")
    kubectl(data_dir, "rollout", "status", "deployment/web", "-n", "kept", "--timeout=60s")
    address = "jsonpath={.status.loadBalancer.ingress[0].ip}"
    wait_until("an address of the load balancer", lambda: kubectl(data_dir, "get", "service", "outside", "-n", "kept", "-o", address))
    server = json.loads((data_dir / "state.json").read_text())["server"]
    api = Api.by_token(data_dir, server, (data_dir / "token").read_text().strip())
    last: dict[str, Any] = {}

    def settled() -> bool:
        nonlocal last
        before, last = last, api.everything()
        time.sleep(1)
        return {name: content(obj) for name, obj in before.items() if not name.startswith("leases/")} == {
            name: content(obj) for name, obj in last.items() if not name.startswith("leases/")
        }

    wait_until("a cluster that is still", settled)
    return last


def packed(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=9) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_dir() or not path.name.endswith(LEFT_OUT):
                archive.add(path, path.relative_to(folder), recursive=False)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade.make_format", description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("name")
    arguments = parser.parse_args()
    checkout, target = arguments.checkout.resolve(), FORMATS / arguments.name
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="knarr-") as text:
        folder = Path(text)
        data_dir, backup, trust = folder / "k", folder / "backup.db", folder / "trust"
        options = {**SETTINGS, **{f"{name}-port": port for name, port in PORTS.items()}, "data-dir": data_dir}
        cluster = run(checkout, CLUSTER, *(f"--{name}={value}" for name, value in options.items()))
        try:
            wait_until("the cluster", (data_dir / "state.json").exists)
            found = fill(data_dir)
            assert run(checkout, COMMAND, "backup", f"--data-dir={data_dir}", str(backup)).wait() == 0
        finally:
            cluster.terminate()
            cluster.wait()
        assert run(checkout, COMPOSE_TRUST, str(trust), *TRUST).wait() == 0
        (target / "data.tar.xz").write_bytes(packed(data_dir))
        (target / "backup.db.xz").write_bytes(lzma.compress(backup.read_bytes(), preset=9))
        (target / "trust.tar.xz").write_bytes(packed(trust))
        (target / "containers.json").write_bytes(hashes(checkout, found))
        (target / "objects.json.xz").write_bytes(lzma.compress(json.dumps(found, ensure_ascii=False, indent=1).encode(), preset=9))


if __name__ == "__main__":
    main()
