"""Who is let in at which port: every port of every component, and every kind of caller, on live processes as compose starts them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from knarr.client.channel import open_secure_channel
from knarr.service import certificates
from knarr.service.certificates import CertificateAuthority
from knarr.service.keypair import KeyPair
from services.command.api import ApiClient
from services.command.audit import audit
from services.command.checks import connections
from tests.support.component_processes import LOOPBACK
from tests.support.trusted import NODE, PARTS, TrustedCluster

pytestmark = [pytest.mark.etcd, pytest.mark.cluster, pytest.mark.timeout(180)]

ASK_SECONDS = 10.0
# What comes of a call: it is carried out, it does not come past the handshake, its caller is not known, or may not.
DONE, SHUT, UNKNOWN, REFUSED = "done", "shut", "unknown", "refused"
CODES = {
    grpc.StatusCode.UNAVAILABLE: SHUT,
    grpc.StatusCode.UNAUTHENTICATED: UNKNOWN,
    grpc.StatusCode.PERMISSION_DENIED: REFUSED,
}
# A call of each component that an administrator may make.
METHODS = {
    "apiserver": "/knarr.api.apiserver.v1.ResourceService/List",
    "scheduler": "/knarr.api.scheduler.v1.SchedulerService/GetQueue",
    "controller": "/knarr.api.controller.v1.ControllerService/ListControllers",
    "cloud": "/knarr.api.cloud.v1.CloudService/GetStatus",
    "dns-1": "/knarr.api.dns.v1.DnsService/GetStatus",
    "kubelet-1": "/knarr.api.kubelet.v1.KubeletService/ListPods",
    "proxy-1": "/knarr.api.proxy.v1.ProxyService/GetRoutes",
}
COMPONENTS = [part for part in PARTS if part != "apiserver"]
# A list of Secrets: `ref {version: v1, resource: secrets, namespace: kube-system}`.
SECRETS = b"\x0a\x1a" + b"\x12\x02v1" + b"\x1a\x07secrets" + b"\x22\x0bkube-system"


class Ports:
    """The cluster, and what callers show."""

    def __init__(self, cluster: TrustedCluster, folder: Path) -> None:
        self.cluster = cluster
        self.trust = trust = cluster.trust
        self.ca = (trust / "admin/ca.crt").read_bytes()
        self.token = (trust / "admin/token").read_text().strip()
        authority = CertificateAuthority(KeyPair.load(trust / "authority", "ca"))
        of_etcd = CertificateAuthority(KeyPair.load(trust / "authority/etcd", "ca"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(certificates, "LEAF_LIFETIME", timedelta(minutes=-1))
            expired, expired_client = (
                authority.issue("knarr-admin", organizations=["system:masters"]),
                of_etcd.issue("kube-apiserver-etcd-client"),
            )
        stranger = CertificateAuthority.create()
        self.pairs: dict[str, KeyPair | None] = {
            "nobody": None,
            "token": None,
            "stranger": stranger.issue("knarr-admin", organizations=["system:masters"]),
            "expired": expired,
            "other component": KeyPair.load(trust / NODE / "proxy", "server"),
            "another node": authority.issue("system:node:node-2", organizations=["system:nodes"]),
            "kubelet client": KeyPair.load(trust / "apiserver", "kubelet-client"),
            "admin": KeyPair.load(trust / "admin", "admin"),
            "expired client of etcd": expired_client,
            "client of etcd": KeyPair.load(trust / "apiserver", "etcd"),
            "front proxy": KeyPair.load(trust / "apiserver", "front-proxy"),
        }
        self._folder = folder

    def ask(self, part: str, caller: str, port: int = 0) -> str:
        """What comes of a call by gRPC; ``port`` where it is not the component's only one."""
        return asyncio.run(self._ask(f"{LOOPBACK}:{port or self.cluster.ports[part]}", METHODS[part], caller))

    async def _ask(self, address: str, method: str, caller: str) -> str:
        pair = self.pairs[caller]
        credentials = grpc.ssl_channel_credentials(self.ca, *((pair.key, pair.certificate) if pair else ()))
        shown = (("authorization", f"Bearer {self.token}"),) if caller == "token" else ()
        # Channels of one process share their connections where all is alike.
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with open_secure_channel(address, credentials, list(options)) as channel:
            request = SECRETS if "ResourceService" in method else b""
            try:
                await channel.unary_unary(method)(request, metadata=shown, timeout=ASK_SECONDS)
            except grpc.aio.AioRpcError as error:
                return CODES.get(error.code(), f"{error.code().name}: {error.details()}")
        return DONE

    def get(self, port: int, ca: Path, path: str, caller: str) -> str:
        """What comes of a request by HTTP over TLS."""
        context = ssl.create_default_context(cafile=str(ca))
        if (pair := self.pairs[caller]) is not None:
            pair.save(self._folder, "shown")
            context.load_cert_chain(self._folder / "shown.crt", self._folder / "shown.key")
        shown = f"Authorization: Bearer {self.token}\r\n" if caller == "token" else ""
        try:
            plain = socket.create_connection((LOOPBACK, port), ASK_SECONDS)
            with plain, context.wrap_socket(plain, server_hostname=LOOPBACK) as to:
                to.sendall(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n{shown}Connection: close\r\n\r\n".encode())
                status = to.makefile("rb").readline().split()
        except OSError:
            return SHUT
        return {b"200": DONE, b"401": UNKNOWN, b"403": REFUSED}.get(status[1], str(status)) if status else SHUT


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    cluster = TrustedCluster(tmp_path_factory.mktemp("ports"))
    try:
        cluster.etcd.start()
        cluster.start(*PARTS)
        made = Ports(cluster, tmp_path_factory.mktemp("shown"))
        cluster.wait_for("the node", lambda: cluster.kubectl("wait", "--for=condition=Ready", f"node/{NODE}", check=False).returncode == 0)
        for part in COMPONENTS:
            cluster.wait_for(part, lambda part=part: made.ask(part, "admin") == DONE)  # type: ignore[misc]
        yield made
    finally:
        cluster.stop()


def callers(**expected: str) -> list[Any]:
    """Parameters: who calls, and what comes of it."""
    return [pytest.param(name.replace("_", " "), outcome, id=f"{name}-{outcome}") for name, outcome in expected.items()]


@pytest.mark.parametrize("part", COMPONENTS)
@pytest.mark.parametrize(
    ("caller", "outcome"),
    callers(nobody=SHUT, token=SHUT, stranger=SHUT, expired=SHUT, front_proxy=SHUT, client_of_etcd=SHUT, another_node=REFUSED, admin=DONE),
)
def test_a_components_port(ports: Ports, part: str, caller: str, outcome: str) -> None:
    assert ports.ask(part, caller) == outcome


@pytest.mark.parametrize("part", COMPONENTS)
def test_one_component_may_do_nothing_at_another(ports: Ports, part: str) -> None:
    assert ports.ask(part, "other component") == REFUSED
    assert ports.ask(part, "kubelet client") == (DONE if part == "kubelet-1" else REFUSED)


@pytest.mark.parametrize(
    ("caller", "outcome"),
    callers(
        nobody=SHUT, token=SHUT, stranger=SHUT, expired=SHUT, front_proxy=SHUT, other_component=REFUSED, another_node=REFUSED, admin=DONE
    ),
)
def test_the_api_servers_port_for_certificates(ports: Ports, caller: str, outcome: str) -> None:
    assert ports.ask("apiserver", caller, ports.cluster.mutual) == outcome


@pytest.mark.parametrize(
    ("caller", "outcome"),
    callers(nobody=UNKNOWN, token=DONE, stranger=UNKNOWN, expired=UNKNOWN, other_component=UNKNOWN, admin=UNKNOWN),
)
def test_the_api_servers_port_for_tokens(ports: Ports, caller: str, outcome: str) -> None:
    """No certificate is asked for there, so none counts."""
    assert ports.ask("apiserver", caller) == outcome


@pytest.mark.parametrize(
    ("caller", "outcome"),
    callers(
        nobody=UNKNOWN,
        token=DONE,
        stranger=SHUT,
        expired=UNKNOWN,
        front_proxy=SHUT,
        other_component=REFUSED,
        another_node=REFUSED,
        admin=DONE,
    ),
)
def test_the_api_servers_rest_port(ports: Ports, caller: str, outcome: str) -> None:
    """The time of a certificate is judged with the request there, so that its owner hears why."""
    path = "/api/v1/namespaces/kube-system/secrets"
    assert ports.get(ports.cluster.rest, ports.trust / "admin/ca.crt", path, caller) == outcome


def _client(ports: Ports) -> tuple[int, str]:
    return int(ports.cluster.etcd.endpoint.rpartition(":")[2]), "/health"


def _peer(ports: Ports) -> tuple[int, str]:
    return int(ports.cluster.etcd.peer_url.rpartition(":")[2]), "/members"


@pytest.mark.parametrize("where", [_client, _peer], ids=["client", "peer"])
@pytest.mark.parametrize(
    ("caller", "outcome"),
    callers(
        nobody=SHUT,
        token=SHUT,
        stranger=SHUT,
        expired=SHUT,
        expired_client_of_etcd=SHUT,
        other_component=SHUT,
        kubelet_client=SHUT,
        admin=SHUT,
        front_proxy=SHUT,
        client_of_etcd=DONE,
    ),
)
def test_the_stores_ports(ports: Ports, where: Callable[[Ports], tuple[int, str]], caller: str, outcome: str) -> None:
    assert ports.get(where(ports)[0], ports.trust / "apiserver/etcd-ca.crt", where(ports)[1], caller) == outcome


def test_the_api_server_reaches_a_kubelet_by_its_certificate(ports: Ports) -> None:
    ports.cluster.kubectl("run", "seen", "--image=web:1", "--restart=Never")
    ports.cluster.wait_for("its pod", lambda: ports.cluster.ready_pods("run=seen"))
    assert ports.cluster.kubectl("logs", "seen", check=False).returncode == 0


def test_an_audit_finds_no_port_open(ports: Ports) -> None:
    with ApiClient(ports.trust / "admin/kubeconfig") as api:
        assert {result.check.id: result.state for result in audit(api, None, connections.CHECKS)} == {
            "store-certificates": "pass",
            "node-strangers": "pass",
        }


def test_no_component_has_a_token(ports: Ports) -> None:
    found = {str(path.relative_to(ports.trust)) for path in ports.trust.rglob("*token*") if "authority" not in path.parts}
    assert found == {"admin/token", "apiserver/tokens.csv"}
