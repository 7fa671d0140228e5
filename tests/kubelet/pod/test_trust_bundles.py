"""Bundles of certificates in pods' volumes: which are shown, in what order, and how a change reaches a pod that runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.objects import pem
from knarr.objects.references import names_trust_bundle
from knarr.service.certificates import CertificateAuthority
from services.kubelet.node.view import NodeView
from services.kubelet.pod.contents import File, Files, VolumeError
from services.kubelet.pod.references import References
from services.kubelet.pod.trust_anchors import NoAnchors, TrustAnchors
from tests.kubelet.support import Cluster, FiledRuntime, contents, make_pod, running, until
from tests.support.api import FaultyApi
from tests.support.virtual_time import VirtualClock, virtual_time

VIEW = NodeView("node-1", "192.0.2.1", {"cpu": "4"})
SIGNER = "example.com/mesh"
SELECT_ALL = meta.LabelSelector()


def bundle(name: str, *anchors: bytes, signer: str = "", **labels: str) -> certificates.ClusterTrustBundle:
    made = certificates.ClusterTrustBundle(metadata=meta.ObjectMeta(name=name, labels=labels))
    made.spec.signer_name = signer
    made.spec.trust_bundle = "a remark\n" + "".join(pem.encoded(pem.CERTIFICATE, anchor) for anchor in anchors)
    return made


def bundle_pod(**wanted: Any) -> core.Pod:
    pod = make_pod()
    volume = pod.spec.volumes.add(name="trust").volume_source.projected
    volume.default_mode = 0o644
    volume.sources.add().cluster_trust_bundle.MergeFrom(core.ClusterTrustBundleProjection(path="ca.pem", **wanted))
    return pod


def wanted(**fields: Any) -> core.ClusterTrustBundleProjection:
    return core.ClusterTrustBundleProjection(path="ca.pem", **fields)


EVERY = (
    bundle("plain", b"1", b"2", b"1"),
    bundle("example.com:mesh:old", b"2", b"3", signer=SIGNER, age="old"),
    bundle("example.com:mesh:new", b"3", b"4", signer=SIGNER, age="new"),
    bundle("example.com:other:new", b"5", signer="example.com/other", age="new"),
)


@pytest.mark.parametrize(
    ("fields", "anchors"),
    [
        ({"name": "plain"}, {b"1", b"2"}),
        ({"name": "example.com:mesh:old"}, {b"2", b"3"}),
        ({"signer_name": SIGNER, "label_selector": SELECT_ALL}, {b"2", b"3", b"4"}),
        ({"signer_name": SIGNER, "label_selector": meta.LabelSelector(match_labels={"age": "new"})}, {b"3", b"4"}),
        ({"name": "gone", "optional": True}, set()),
        ({"signer_name": "example.com/gone", "label_selector": SELECT_ALL, "optional": True}, set()),
        ({"signer_name": SIGNER, "optional": True}, set()),
    ],
    ids=["name", "name-of-a-signer", "signer", "labels", "optional-name", "optional-signer", "no-selector-selects-none"],
)
def test_each_certificate_once(fields: dict[str, Any], anchors: set[bytes]) -> None:
    found = list(pem.blocks(TrustAnchors(EVERY).of(wanted(**fields)).decode()))
    assert {block.data for block in found} == anchors and len(found) == len(anchors)
    assert all(block.label == "CERTIFICATE" for block in found)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "gone"}, 'clustertrustbundle.certificates.k8s.io "gone" not found'),
        ({"signer_name": SIGNER}, "combination of signerName and labelSelector matched zero ClusterTrustBundles"),
        ({"signer_name": "example.com/gone", "label_selector": SELECT_ALL}, "matched zero ClusterTrustBundles"),
    ],
    ids=["name", "no-selector", "signer"],
)
def test_what_is_not_there_is_told(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(NoAnchors, match=words):
        TrustAnchors(EVERY).of(wanted(**fields))
    with pytest.raises(VolumeError, match=f'MountVolume.SetUp failed for volume "trust" : .*{words}'):
        contents(bundle_pod(**fields), References(anchors=TrustAnchors(EVERY)), VIEW)


def test_the_order_is_a_kubelets_own_and_stays() -> None:
    many = bundle("many", *(bytes([number]) for number in range(20)))
    more = bundle("many", *(bytes([number]) for number in reversed(range(21))))
    orders = {seed: TrustAnchors((many,), seed).of(wanted(name="many")) for seed in (b"1", b"2", b"3")}
    assert len(set(orders.values())) == 3
    for seed, order in orders.items():
        grown = [block for block in pem.blocks(TrustAnchors((more,), seed).of(wanted(name="many")).decode()) if block.data != bytes([20])]
        assert grown == list(pem.blocks(order.decode()))


def test_who_may_read_the_file() -> None:
    def laid(pod: core.Pod) -> File:
        content = contents(pod, References(anchors=TrustAnchors(EVERY)), VIEW)["trust"]
        assert isinstance(content, Files) and not content.secret
        return content.files[0]

    pod = bundle_pod(name="plain")
    assert (laid(pod).mode, laid(pod).owner) == (0o644, None)
    pod.spec.security_context.fs_group = 2000
    assert (laid(pod).mode, laid(pod).owner) == (0o600, None)
    pod.spec.security_context.run_as_user = 1000
    assert (laid(pod).mode, laid(pod).owner) == (0o600, 1000)
    pod.spec.volumes[0].volume_source.projected.sources[0].cluster_trust_bundle.user = 7
    assert laid(pod).owner == 7


@pytest.mark.parametrize(
    ("fields", "name", "named"),
    [
        ({"name": "plain"}, "plain", True),
        ({"name": "plain"}, "other", False),
        ({"signer_name": SIGNER}, "example.com:mesh:any", True),
        ({"signer_name": SIGNER}, "example.com:mesher:any", False),
        ({"signer_name": SIGNER}, "plain", False),
    ],
    ids=["its-name", "another-name", "its-signer", "another-signer", "of-no-signer"],
)
def test_whom_a_change_concerns(fields: dict[str, Any], name: str, named: bool) -> None:
    assert names_trust_bundle(bundle_pod(**fields), name) is named
    assert not names_trust_bundle(make_pod(), name)


def anchor(name: str) -> bytes:
    (block,) = pem.blocks(CertificateAuthority.create(name).pair.certificate.decode())
    return block.data


def shown(cluster: Cluster) -> set[bytes]:
    (worker,) = cluster.kubelet.manager.workers.values()
    return {block.data for block in pem.blocks((worker.volume_path("trust") / "ca.pem").read_text())}


@pytest.mark.usefixtures("at_once")
@virtual_time
async def test_a_running_pod_sees_what_changes(folder: Path) -> None:
    clock, first, second = VirtualClock(), anchor("first"), anchor("second")
    api = FaultyApi(clock)
    async with running(FiledRuntime("10.0.0.0/24", clock=clock), folder, api, clock) as cluster:
        references = cluster.kubelet.context.references
        admin = api.client()
        await admin.create(bundle_pod(signer_name=SIGNER, label_selector=SELECT_ALL))
        await until(lambda: any("matched zero ClusterTrustBundles" in words for words in cluster.events("FailedMount")))
        await admin.create(bundle("example.com:mesh:one", first, signer=SIGNER))
        await cluster.ready()
        assert shown(cluster) == {first}
        await admin.create(bundle("example.com:mesh:two", second, signer=SIGNER))
        await until(lambda: shown(cluster) == {first, second})
        await admin.delete(certificates.ClusterTrustBundle, "example.com:mesh:one")
        await until(lambda: shown(cluster) == {second})
        await admin.delete(certificates.ClusterTrustBundle, "example.com:mesh:two")
        await asyncio.sleep(1)
        assert shown(cluster) == {second}, "what a pod has is kept where there is nothing else"
        await admin.delete(core.Pod, "web", "default", grace_period_seconds=0)
        await until(lambda: not cluster.kubelet.manager.workers)
        assert references._bundles._informer is None, "nobody follows them any longer"


@pytest.mark.usefixtures("at_once")
@virtual_time
async def test_an_optional_one_comes_later(folder: Path) -> None:
    clock = VirtualClock()
    api = FaultyApi(clock)
    async with running(FiledRuntime("10.0.0.0/24", clock=clock), folder, api, clock) as cluster:
        await api.client().create(bundle_pod(name="late", optional=True))
        await cluster.ready()
        assert shown(cluster) == set()
        late = anchor("late")
        await api.client().create(bundle("late", late))
        await until(lambda: shown(cluster) == {late})
