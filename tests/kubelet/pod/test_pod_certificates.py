"""Certificates of pods: from the volume to the signer and back, while a kubelet runs."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.informer import Informer
from knarr.machinery.times import to_time
from knarr.objects import pem
from knarr.service.certificates import CertificateAuthority
from services.kubelet.node.view import NodeView
from services.kubelet.pod.certificate_keys import is_slow, key_and_request
from services.kubelet.pod.contents import Files, VolumeError
from services.kubelet.pod.credentials import Credential
from services.kubelet.pod.references import References
from tests.kubelet.support import NODE, Cluster, FiledRuntime, contents, make_pod, running, until
from tests.support.api import FaultyApi
from tests.support.virtual_time import VirtualClock, virtual_time

SIGNER = "example.com/mesh"
VIEW = NodeView("node-1", "192.0.2.1", {"cpu": "4"})


def certified(name: str = "web", **wanted: Any) -> core.Pod:
    pod = make_pod(name)
    pod.spec.service_account_name = "default"
    volume = pod.spec.volumes.add(name="mesh").volume_source.projected
    volume.default_mode = 0o644
    source = core.PodCertificateProjection(signer_name=SIGNER, key_type="ED25519", credential_bundle_path="bundle.pem", **wanted)
    volume.sources.add().pod_certificate.MergeFrom(source)
    return pod


@pytest.mark.parametrize(
    ("key_type", "kind", "bits"),
    [
        ("ED25519", ed25519.Ed25519PrivateKey, 0),
        ("ECDSAP256", ec.EllipticCurvePrivateKey, 256),
        ("ECDSAP384", ec.EllipticCurvePrivateKey, 384),
        ("ECDSAP521", ec.EllipticCurvePrivateKey, 521),
        ("RSA3072", rsa.RSAPrivateKey, 3072),
    ],
)
def test_keys_of_every_type_prove_themselves(key_type: str, kind: type, bits: int) -> None:
    text, request = key_and_request(key_type)
    key: Any = load_pem_private_key(text.encode(), None)
    read = x509.load_der_x509_csr(request)
    public = key.public_key()
    assert isinstance(key, kind) and getattr(key, "key_size", 0) == bits and text.startswith("-----BEGIN PRIVATE KEY-----\n")
    assert read.is_signature_valid and read.public_key() == public and not list(read.subject)
    assert is_slow(key_type) is (kind is rsa.RSAPrivateKey)


def test_an_unknown_type_is_told() -> None:
    with pytest.raises(ValueError, match='unknown key type "DSA"'):
        key_and_request("DSA")


@pytest.mark.parametrize(
    ("paths", "files"),
    [
        ({"credential_bundle_path": "b"}, {"b": b"KEYCHAIN"}),
        ({"key_path": "k", "certificate_chain_path": "deep/c"}, {"k": b"KEY", "deep/c": b"CHAIN"}),
        ({"credential_bundle_path": "b", "certificate_chain_path": "c"}, {"b": b"KEYCHAIN", "c": b"CHAIN"}),
    ],
    ids=["bundle", "two-files", "both"],
)
def test_where_it_is_written(paths: dict[str, str], files: dict[str, bytes]) -> None:
    pod = certified()
    source = pod.spec.volumes[0].volume_source.projected.sources[0].pod_certificate
    source.ClearField("credential_bundle_path")
    for field_name, path in paths.items():
        setattr(source, field_name, path)
    references = References(credentials={("mesh", 0): Credential("KEY", "CHAIN")})
    content = contents(pod, references, VIEW)["mesh"]
    assert isinstance(content, Files) and content.secret, "keys belong on no disk"
    assert {file.path: file.data for file in content.files} == files and {file.mode for file in content.files} == {0o644}
    pod.spec.security_context.run_as_user = 1000
    content = contents(pod, references, VIEW)["mesh"]
    assert isinstance(content, Files) and {(file.mode, file.owner) for file in content.files} == {(0o600, 1000)}
    with pytest.raises(VolumeError, match="credential bundle is not issued yet"):
        contents(pod, References(), VIEW)


@dataclass
class Signer:
    """Answers what is asked of it, or keeps silent."""

    api: FaultyApi
    clock: VirtualClock
    answer: str = "Issued"
    life: timedelta = timedelta(hours=2)
    authority: CertificateAuthority = field(default_factory=CertificateAuthority.create)
    seen: list[certificates.PodCertificateRequest] = field(default_factory=list)

    async def run(self) -> None:
        client = self.api.client()
        queue: asyncio.Queue[certificates.PodCertificateRequest] = asyncio.Queue()
        informer: Informer[certificates.PodCertificateRequest] = Informer(client, certificates.PodCertificateRequest)
        informer.on_change(lambda old, new: queue.put_nowait(new) if old is None and new is not None else None)
        task = asyncio.create_task(informer.run())
        try:
            while True:
                request = await queue.get()
                self.seen.append(request)
                if self.answer:
                    await client.update(self._answered(request), subresource="status")
        finally:
            task.cancel()

    def _answered(self, request: certificates.PodCertificateRequest) -> certificates.PodCertificateRequest:
        now = self.clock.now().replace(microsecond=0)
        status = request.status
        status.conditions.add(type=self.answer, status="True", reason="Judged", message="so be it", last_transition_time=to_time(now))
        if self.answer == "Issued":
            key: Any = x509.load_der_x509_csr(request.spec.stub_pkcs10_request).public_key()
            subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, request.spec.pod_name)])
            made = self.authority.sign(subject, key, usages=["client auth"], names=None, begins=now, ends=now + self.life)
            status.certificate_chain = made.decode()
            status.not_before.CopyFrom(to_time(now))
            status.begin_refresh_at.CopyFrom(to_time(now + self.life / 2))
            status.not_after.CopyFrom(to_time(now + self.life))
        return request


@asynccontextmanager
async def signing(folder: Path, **signer: Any) -> AsyncIterator[tuple[Cluster, Signer]]:
    clock = VirtualClock()
    api = FaultyApi(clock)
    made = Signer(api, clock, **signer)
    async with running(FiledRuntime("10.0.0.0/24", clock=clock), folder, api, clock) as cluster:
        task = asyncio.create_task(made.run())
        try:
            yield cluster, made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def shown(cluster: Cluster) -> tuple[str, x509.Certificate]:
    """Key and certificate in the volume, which belong together."""
    (worker,) = cluster.kubelet.manager.workers.values()
    text = (worker.volume_path("mesh") / "bundle.pem").read_text()
    key, *chain = pem.blocks(text)
    certificate = x509.load_der_x509_certificate(chain[0].data)
    private: Any = load_pem_private_key(pem.encoded(key.label, key.data).encode(), None)
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert private.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)
    return pem.encoded(key.label, key.data), certificate


@pytest.mark.usefixtures("at_once")
@virtual_time
async def test_a_pod_gets_a_key_and_its_certificate(folder: Path) -> None:
    async with signing(folder) as (cluster, signer):
        await cluster.client.create(certified(max_expiration_seconds=7200, user_annotations={"example.com/role": "front"}))
        pod = await cluster.ready()
        _, certificate = shown(cluster)
        assert certificate.subject.rfc4514_string() == "CN=web"
        (request,) = signer.seen
        spec, node = request.spec, await cluster.client.get(core.Node, NODE)
        account = await cluster.client.get(core.ServiceAccount, "default", "default")
        assert (spec.pod_name, spec.pod_uid, spec.node_name, spec.node_uid) == ("web", pod.metadata.uid, NODE, node.metadata.uid)
        assert (spec.service_account_name, spec.service_account_uid) == ("default", account.metadata.uid)
        assert (spec.signer_name, spec.max_expiration_seconds) == (SIGNER, 7200)
        assert dict(spec.unverified_user_annotations) == {"example.com/role": "front"}
        assert [(owner.kind, owner.uid) for owner in request.metadata.owner_references] == [("Pod", pod.metadata.uid)]


@pytest.mark.usefixtures("at_once")
@virtual_time
async def test_it_is_renewed_while_the_pod_runs(folder: Path) -> None:
    async with signing(folder) as (cluster, signer):
        await cluster.client.create(certified())
        await cluster.ready()
        first, _ = shown(cluster)
        await asyncio.sleep(3500)
        assert shown(cluster)[0] == first and len(signer.seen) == 1
        await asyncio.sleep(500)
        second, certificate = shown(cluster)
        assert second != first and certificate.not_valid_before_utc > cluster.api.clock.now() - timedelta(hours=1)
        assert [status.restart_count for status in (await cluster.ready()).status.container_statuses] == [0]
        assert len(signer.seen) == 2


@pytest.mark.usefixtures("at_once")
@virtual_time
async def test_where_nobody_renews_it_somebody_is_told_and_the_files_stay(folder: Path) -> None:
    async with signing(folder) as (cluster, signer):
        await cluster.client.create(certified())
        await cluster.ready()
        first, _ = shown(cluster)
        signer.answer = ""
        await asyncio.sleep(3600 + 300 + 700)
        assert cluster.events("CertificateOverdueForRefresh") == ["PodCertificate refresh overdue"] and not cluster.events(
            "CertificateExpired"
        )
        await asyncio.sleep(3600)
        assert cluster.events("CertificateExpired") == ["PodCertificate expired"]
        assert shown(cluster)[0] == first
        assert len(signer.seen) > 2, "a request that nobody answers is made anew"


@pytest.mark.parametrize("answer", ["Denied", "Failed"])
@pytest.mark.usefixtures("at_once")
@virtual_time
async def test_a_pod_that_is_refused_one_waits_for_ever(answer: str, folder: Path) -> None:
    async with signing(folder, answer=answer) as (cluster, signer):
        await cluster.client.create(certified())
        await until(lambda: cluster.events(answer))
        (event,) = cluster.events(answer)
        assert event.startswith("PodCertificateRequest default/req-") and 'reason="Judged", message="so be it"' in event
        await asyncio.sleep(60)
        assert any("permanently" in words for words in cluster.events("FailedMount"))
        assert len(signer.seen) == 1 and (await cluster.phase("Pending"))


@pytest.mark.usefixtures("at_once")
@virtual_time
async def test_a_request_that_is_taken_away_is_made_anew(folder: Path) -> None:
    async with signing(folder, answer="") as (cluster, signer):
        await cluster.client.create(certified())
        await until(lambda: signer.seen)
        signer.answer = "Issued"
        await cluster.client.delete(certificates.PodCertificateRequest, signer.seen[0].metadata.name, "default")
        await cluster.ready()
        assert len(signer.seen) == 2


@pytest.mark.usefixtures("at_once")
@virtual_time
async def test_each_source_has_a_key_of_its_own_which_ends_with_the_pod(folder: Path) -> None:
    async with signing(folder) as (cluster, signer):
        pod = certified()
        source = pod.spec.volumes[0].volume_source.projected.sources.add().pod_certificate
        source.signer_name, source.key_type, source.key_path, source.certificate_chain_path = SIGNER, "ECDSAP256", "key", "chain"
        await cluster.client.create(pod)
        await cluster.ready()
        (worker,) = cluster.kubelet.manager.workers.values()
        path = worker.volume_path("mesh")
        assert (path / "key").read_text() not in (path / "bundle.pem").read_text() and len(signer.seen) == 2
        assert stat.S_IMODE((path / "key").stat().st_mode) == 0o644
        keeper = cluster.kubelet.context.references._certificates
        assert keeper._states and keeper._informer is not None
        await cluster.client.delete(core.Pod, "web", "default", grace_period_seconds=0)
        await until(lambda: not cluster.kubelet.manager.workers)
        assert not keeper._states and not keeper._pods and not keeper._locks and keeper._informer is None
