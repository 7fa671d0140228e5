"""The bundle by which everybody knows the API servers, and the ends of requests for pods' certificates."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from services.controller.controllers.podcertificatecleaner.controller import PodCertificateCleanerController
from services.controller.controllers.podcertificatecleaner.decide import seconds_left
from services.controller.controllers.trustbundlepublisher.controller import TrustBundlePublisher
from services.controller.controllers.trustbundlepublisher.decide import SIGNER, Decision, bundle_name, decide
from tests.controller.cluster import Cluster, cluster
from tests.support.signing import authority, pod_certificate_request
from tests.support.virtual_time import virtual_time

OURS = authority("knarr")
NAME = bundle_name(OURS)
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def bundle(name: str = NAME, text: str = OURS, signer: str = SIGNER) -> certificates.ClusterTrustBundle:
    made = certificates.ClusterTrustBundle()
    made.metadata.name, made.spec.signer_name, made.spec.trust_bundle = name, signer, text
    return made


def bundles(c: Cluster) -> dict[str, str]:
    return {found.metadata.name: found.spec.trust_bundle for found in c.api.all(certificates.ClusterTrustBundle)}


FORMER = bundle("kubernetes.io:kube-apiserver-serving:former", authority("former"))


@pytest.mark.parametrize(
    ("found", "decision"),
    [
        ([], Decision(create=bundle())),
        ([bundle()], Decision()),
        ([bundle(text=authority("another"))], Decision(update=bundle())),
        ([FORMER], Decision(create=bundle(), delete=(FORMER.metadata.name,))),
        ([FORMER, bundle()], Decision(delete=(FORMER.metadata.name,))),
    ],
    ids=["none", "as-it-should-be", "changed", "former", "both"],
)
def test_there_is_one(found: list[certificates.ClusterTrustBundle], decision: Decision) -> None:
    assert decide(found, OURS) == decision


def test_its_name_says_its_content() -> None:
    assert NAME.startswith("kubernetes.io:kube-apiserver-serving:") and len(NAME.rpartition(":")[2]) == 24
    assert bundle_name(authority("another")) != NAME


@virtual_time
async def test_it_is_there_restored_and_the_only_one_of_its_signer() -> None:
    async with cluster(kubelet=False, controllers=(TrustBundlePublisher,), root_certificate=OURS) as c:
        await c.until(lambda: bundles(c) == {NAME: OURS})
        mine = bundle("mine", authority("mine"), "")
        await c.client.create(mine)
        await c.client.create(FORMER)
        await c.until(lambda: bundles(c) == {NAME: OURS, "mine": authority("mine")})
        await c.edit(certificates.ClusterTrustBundle, NAME, lambda found: setattr(found.spec, "trust_bundle", authority("x")), "")
        await c.until(lambda: bundles(c)[NAME] == OURS)
        await c.client.delete(certificates.ClusterTrustBundle, NAME)
        await c.until(lambda: bundles(c).get(NAME) == OURS)


@virtual_time
async def test_a_manager_without_a_certificate_publishes_none() -> None:
    async with cluster(kubelet=False, controllers=(TrustBundlePublisher,)) as c:
        await c.client.create(FORMER)
        assert set(bundles(c)) == {FORMER.metadata.name}


@pytest.mark.parametrize(("age", "left"), [(0, 900), (899, 1), (900, 0), (9000, 0), (-60, 960)])
def test_a_request_has_a_quarter_of_an_hour(age: int, left: float) -> None:
    made = certificates.PodCertificateRequest()
    made.metadata.creation_timestamp.seconds = int((NOW - timedelta(seconds=age)).timestamp())
    assert seconds_left(made, NOW) == left


@virtual_time
async def test_old_requests_go() -> None:
    async with cluster(kubelet=False, controllers=(PodCertificateCleanerController,)) as c:
        await c.client.create(pod_certificate_request("one"))
        await asyncio.sleep(800)
        await c.client.create(pod_certificate_request("other"))
        await c.until(lambda: [found.metadata.name for found in c.api.all(certificates.PodCertificateRequest)] == ["other"], seconds=200)
