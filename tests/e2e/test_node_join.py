"""A machine joins with nothing but the authority's certificate and a bootstrap token, runs pods by its Docker engine, and renews what it
has been given while they run; all of it real, with certificates that are good for a minute.
"""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from services.kubelet.node.mounts import unmount_all
from tests.support.cluster_client import ROOT
from tests.support.component_processes import LOOPBACK, STOP_SECONDS
from tests.support.engine import IMAGE, docker, ensure_image
from tests.support.ports import free_port
from tests.support.processes import end
from tests.support.trusted import TrustedCluster

pytestmark = [pytest.mark.etcd, pytest.mark.docker, pytest.mark.cluster, pytest.mark.timeout(300)]

JOINED = "joined"
TOKEN = "abcdef.0123456789abcdef"
SIGNED_SECONDS = 60
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
    "type": "bootstrap.kubernetes.io/token",
    "stringData": {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"},
}


class Joining(TrustedCluster):
    """A control plane, and a machine that nothing was made for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.machine = folder / "machine"
        self.machine.mkdir()
        self.token = self.machine / "token"
        self.token.write_text(f"{TOKEN}\n")
        self.id = f"join-{uuid.uuid4().hex[:8]}"
        self.port = free_port()

    def own(self, part: str) -> list[str]:
        signed = [f"--cluster-signing-duration={SIGNED_SECONDS}s", f"--cluster-cidr={self._pods}"] if part == "controller" else []
        return [*super().own(part), *signed]

    def join(self) -> None:
        """Starts the machine's kubelet."""
        own = {
            "ca": self.trust / "admin/ca.crt",
            "cert-dir": self.machine / "pki",
            "apiserver": f"{LOOPBACK}:{self.mutual}",
            "node-name": JOINED,
            "node-ip": LOOPBACK,
            "data-dir": self.machine / "kubelet",
            "cluster-id": self.id,
            "listen": f"{LOOPBACK}:{self.port}",
            "metrics-listen": f"{LOOPBACK}:0",
            "log-style": "text",
        }
        if self.token.exists():
            own |= {"bootstrap-token": self.token, "bootstrap-apiserver": self.address("apiserver")}
        command = [sys.executable, "-m", "services.kubelet", *(f"--{name}={value}" for name, value in own.items())]
        with (self.data_dir / "joined.log").open("ab") as log:
            self.processes[JOINED] = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)

    def kept(self, name: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.machine / "pki" / f"{name}.crt").read_bytes())

    def shown(self) -> x509.Certificate:
        """What the kubelet serves with at this moment, to somebody who shows what it asks for."""
        context = ssl.create_default_context(cafile=str(self.trust / "admin/ca.crt"))
        context.load_cert_chain(self.trust / "admin/admin.crt", self.trust / "admin/admin.key")
        plain = socket.create_connection((LOOPBACK, self.port), 5)
        with plain, context.wrap_socket(plain, server_hostname=JOINED) as connection:
            return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")

    def is_ready(self) -> bool:
        return self.kubectl("wait", "--for=condition=Ready", f"node/{JOINED}", "--timeout=1s", check=False).returncode == 0

    def answers(self) -> bool:
        """Whether logs and commands of the pod come through."""
        logs = self.kubectl("logs", "app", check=False)
        return "begun" in logs.stdout and self.kubectl("exec", "app", "--", "hostname", check=False).stdout == "app\n"

    def stop(self) -> None:
        try:
            super().stop()
        finally:
            unmount_all(self.machine / "kubelet")
            label = f"label=io.knarr.cluster={self.id}"
            for found in docker("ps", "-aq", "--filter", label).split():
                docker("rm", "--force", found)
            for found in docker("network", "ls", "-q", "--filter", label).split():
                docker("network", "rm", found)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Joining]:
    ensure_image()
    made = Joining(tmp_path)
    try:
        made.etcd.start()
        made.start("apiserver", "scheduler", "controller")
        made.wait_for("the API", lambda: made.kubectl("get", "--raw", "/readyz", check=False).returncode == 0)
        yield made
    finally:
        made.stop()


def test_a_machine_joins_by_a_token_and_goes_on_by_its_certificates(cluster: Joining) -> None:
    cluster.apply(SECRET)
    cluster.join()
    cluster.wait_for("the node", cluster.is_ready)
    asked = {one["spec"]["signerName"]: one for one in cluster.get("certificatesigningrequests")["items"]}
    assert asked["kubernetes.io/kube-apiserver-client-kubelet"]["spec"]["username"] in ("system:bootstrap:abcdef", f"system:node:{JOINED}")
    first = cluster.kept("client")
    assert first.subject.rfc4514_string() == f"CN=system:node:{JOINED},O=system:nodes"

    cluster.kubectl("run", "app", f"--image={IMAGE}", "--restart=Always", "--command", "--", "sh", "-c", "echo begun; exec sleep 100000")
    cluster.wait_for("the pod", lambda: cluster.ready_pods("run=app"))
    cluster.wait_for("logs and commands", cluster.answers)
    (container,) = docker("ps", "-q", "--filter", f"label=io.knarr.cluster={cluster.id}", "--filter", f"ancestor={IMAGE}").split()

    # What it was first given is good no more. It has other ones, shows them, and goes on as the node.
    cluster.wait_for("the first to expire", lambda: datetime.now(UTC) > first.not_valid_after_utc, SIGNED_SECONDS + 5)
    for name in ("client", "serving"):
        assert cluster.kept(name).not_valid_after_utc > datetime.now(UTC)
    assert cluster.kept("client").serial_number != first.serial_number
    assert cluster.shown().not_valid_after_utc > datetime.now(UTC)
    assert cluster.answers()
    expired = first.not_valid_after_utc

    def beats() -> bool:
        lease = cluster.get("lease", "-n", "kube-node-lease", JOINED)
        return datetime.fromisoformat(lease["spec"]["renewTime"].replace("Z", "+00:00")) > expired

    cluster.wait_for("the node to be alive after that", beats)

    # The token is spent, the machine starts anew: it needs none, and its pod has run on.
    cluster.kubectl("delete", "secret", "-n", "kube-system", "bootstrap-token-abcdef")
    cluster.token.unlink()
    end(cluster.processes.pop(JOINED), signal.SIGTERM, STOP_SECONDS)
    cluster.join()
    cluster.wait_for("logs and commands", cluster.answers)
    assert docker("ps", "-q", "--filter", f"id={container}").split() == [container]
