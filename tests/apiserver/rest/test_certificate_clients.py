"""Other people's clients that name themselves by the certificate of a kubeconfig."""

from __future__ import annotations

import asyncio
import base64
import gc
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client as models
from kubernetes import config

from knarr.service.certificates import CertificateAuthority
from knarr.service.keypair import KeyPair
from tests.apiserver.rest.kubectl import Kubectl
from tests.apiserver.rest.live import LiveServer, running_server
from tests.support.clients import HELM, KUBECTL, Program
from tests.support.signing import signing_request


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(tmp_path_factory.mktemp("live"), in_memory=True) as server:
        yield server


@pytest.fixture(scope="module")
def kubeconfig(live: LiveServer) -> Path:
    """Of bob, who is one of those that may do everything."""
    pair = CertificateAuthority(KeyPair.load(live.folder, "ca")).issue("bob", organizations=["system:masters"])
    found = yaml.safe_load(live.kubeconfig.read_text())
    shown = {"client-certificate-data": pair.certificate, "client-key-data": pair.key}
    found["users"][0]["user"] = {name: base64.b64encode(pem).decode() for name, pem in shown.items()}
    path = live.folder / "bob.kubeconfig"
    path.write_text(yaml.safe_dump(found))
    # Helm warns of one that others may read.
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("program", KUBECTL, ids=str)
async def test_kubectl(kubectl: Kubectl, kubeconfig: Path, program: Program) -> None:
    bob = Kubectl(kubectl.server, kubectl.namespace, program.path)
    assert "default" in (await bob("get", "serviceaccounts", KUBECONFIG=str(kubeconfig))).out
    if bob.version >= (1, 28):
        assert "bob" in (await bob("auth", "whoami", KUBECONFIG=str(kubeconfig))).out


@pytest.mark.parametrize("program", KUBECTL, ids=str)
async def test_requests_for_certificates_are_approved_and_denied(kubectl: Kubectl, program: Program) -> None:
    admin = Kubectl(kubectl.server, kubectl.namespace, program.path)
    for verb, condition in (("approve", "Approved"), ("deny", "Denied")):
        name = f"{program.version.replace('.', '-')}-{verb}"
        request = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": name},
            "spec": {
                "request": base64.b64encode(signing_request("carol", ["dev"])).decode(),
                "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"],
            },
        }
        await admin("create", "-f", "-", stdin=yaml.safe_dump(request))
        assert f"{name} {condition.lower()}" in (await admin("certificate", verb, name)).out
        assert (await admin("get", "csr", name, "-o", "jsonpath={.status.conditions[*].type}")).out == condition


@pytest.mark.parametrize("program", HELM, ids=str)
async def test_helm(kubeconfig: Path, program: Program) -> None:
    environment = {"KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent), "PATH": os.environ["PATH"]}
    process = await asyncio.create_subprocess_exec(
        program.path, "list", "--all-namespaces", env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    assert (process.returncode, out.decode().split()[:2]) == (0, ["NAME", "NAMESPACE"])


def test_python(kubeconfig: Path) -> None:
    with config.new_client_from_config(str(kubeconfig)) as connection:
        core: Any = models.CoreV1Api(connection)
        assert "default" in [item.metadata.name for item in core.list_namespace().items]
        connection.rest_client.pool_manager.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
