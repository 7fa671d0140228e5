"""Kubernetes' own API server, started beside ours on an etcd of the test's choice.

Its binary is found in the folder that ``KUBERNETES_BIN`` names, else on the path; without it the tests that need it are skipped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import urllib3
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from knarr.service.certificates import CertificateAuthority
from tests.apiserver.rest.live import TOKEN
from tests.support.ports import free_port
from tests.support.processes import end

START_SECONDS, STOP_SECONDS = 60.0, 10.0
ISSUER = "https://kubernetes.default.svc"


def find(name: str) -> str | None:
    """The path of one of Kubernetes' binaries; None when it is not built."""
    folder = os.environ.get("KUBERNETES_BIN", "")
    # The kubectl on the path is a new one: one of old must be named.
    return shutil.which(name, path=folder or None) if folder or name != "kubectl" else None


def binary(name: str) -> str:
    """The path of one of Kubernetes' binaries; skips the test when it is not built."""
    found = find(name)
    if found is None:
        pytest.skip(f"{name} is not here: build Kubernetes and name the folder of its binaries in KUBERNETES_BIN")
    return found


class KubeApiserver:
    """A running server: where it listens and what its clients need to trust it."""

    def __init__(self, folder: Path, endpoint: str, service_range: str, options: Sequence[str] = ()) -> None:
        self._options = options
        self.folder, self.port = folder, free_port()
        self._endpoint, self._service_range = endpoint, service_range
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        path = binary("kube-apiserver")
        authority = CertificateAuthority.create()
        authority.pair.save(self.folder, "ca")
        authority.issue("apiserver", hosts=["127.0.0.1", "localhost"]).save(self.folder, "server")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private, public = self.folder / "sa.key", self.folder / "sa.pub"
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        (self.folder / "tokens.csv").write_text(f"{TOKEN},admin,1,system:masters\n")
        command = [
            path, f"--etcd-servers=http://{self._endpoint}", f"--secure-port={self.port}", "--bind-address=127.0.0.1",
            "--advertise-address=192.0.2.1", f"--tls-cert-file={self.folder / 'server.crt'}",
            f"--tls-private-key-file={self.folder / 'server.key'}", f"--cert-dir={self.folder}",
            f"--token-auth-file={self.folder / 'tokens.csv'}", "--authorization-mode=RBAC",
            f"--service-cluster-ip-range={self._service_range}", f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={public}", f"--service-account-signing-key-file={private}",
            "--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none", "--allow-privileged=true",
            *self._options,
        ]  # fmt: skip
        with (self.folder / "kube-apiserver.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self._wait_ready()

    def stop(self) -> None:
        if self._process is None:
            return
        end(self._process, signal.SIGTERM, STOP_SECONDS)
        self._process = None

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with urllib3.PoolManager(ca_certs=str(self.ca), headers={"Authorization": f"Bearer {TOKEN}"}) as pool:
            while time.monotonic() < deadline:
                assert self._process is not None
                if self._process.poll() is not None:
                    break
                with contextlib.suppress(urllib3.exceptions.HTTPError, ssl.SSLError):
                    if pool.request("GET", f"{self.url}/readyz", retries=False, timeout=5).status == 200:
                        return
                time.sleep(0.1)
        raise RuntimeError("kube-apiserver did not become ready: " + (self.folder / "kube-apiserver.log").read_text()[-3000:])


@contextlib.contextmanager
def running_kube_apiserver(
    folder: Path, endpoint: str, service_range: str = "10.96.0.0/16", options: Sequence[str] = ()
) -> Iterator[KubeApiserver]:
    """A started server over the etcd at ``endpoint``, stopped at the end; ``options`` are further ones of its command line."""
    server = KubeApiserver(folder, endpoint, service_range, options)
    try:
        server.start()
        yield server
    finally:
        server.stop()
