"""Certificates of pods: for which a node may ask, which requests it sees, and who answers them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.client.client import Client
from knarr.machinery.errors import Forbidden, Invalid
from knarr.machinery.times import to_time
from knarr.objects.pods import MIRROR
from knarr.service.authentication import AUTHENTICATED, User
from knarr.service.certificates import CertificateAuthority
from services.apiserver.in_memory import ApiInMemory
from services.kubelet.pod.certificate_keys import key_and_request
from tests.apiserver.node.test_node import OTHER, OWN, objects, pod
from tests.support.rights import kubelet
from tests.support.signing import signing_keys

SIGNER = "example.com/mesh"
Asked = certificates.PodCertificateRequest
_, REQUEST = key_and_request("ECDSAP256")
AUTHORITY = CertificateAuthority.create()
MESH = User("mesh", groups=(AUTHENTICATED,))


def certified(name: str, node: str) -> core.Pod:
    found = pod(name, node)
    source = found.spec.volumes.add(name="mesh").volume_source.projected.sources.add().pod_certificate
    source.signer_name, source.key_type, source.key_path = SIGNER, "ECDSAP256", "key"
    return found


@pytest.fixture
async def api() -> AsyncIterator[ApiInMemory]:
    made = ApiInMemory(keys=signing_keys())
    kept = [found for found in objects() if not isinstance(found, core.Pod)]
    static = certified("static", OWN)
    static.metadata.annotations[MIRROR] = "hash"
    accounts = [core.ServiceAccount(metadata=meta.ObjectMeta(name="runs-static", namespace="shop"))]
    made.seed(*kept, certified("own", OWN), certified("other", OTHER), pod("plain", OWN), static, *accounts, checked=False)
    made.seed(core.ServiceAccount(metadata=meta.ObjectMeta(name="runs-plain", namespace="shop")))
    async with made:
        yield made


@pytest.fixture
def node(api: ApiInMemory) -> Client:
    return api.client(kubelet(OWN))


async def asked(api: ApiInMemory, name: str, node: str = OWN, **changed: str) -> Asked:
    """As the node's kubelet asks for a pod, but for what is changed."""
    client = api.client()
    found = await client.get(core.Pod, name, "shop")
    made = Asked(metadata=meta.ObjectMeta(name=f"req-{name}", namespace="shop"))
    spec = made.spec
    spec.signer_name, spec.stub_pkcs10_request = SIGNER, REQUEST
    spec.pod_name, spec.pod_uid = name, found.metadata.uid
    spec.service_account_name = found.spec.service_account_name
    spec.service_account_uid = (await client.get(core.ServiceAccount, spec.service_account_name, "shop")).metadata.uid
    spec.node_name, spec.node_uid = node, (await client.get(core.Node, node)).metadata.uid
    for field, value in changed.items():
        setattr(spec, field, value)
    return made


async def test_for_a_pod_that_it_runs(api: ApiInMemory, node: Client) -> None:
    made = await node.create(await asked(api, "own"))
    assert made.spec.max_expiration_seconds == 86400
    assert (await node.get(certificates.PodCertificateRequest, "req-own", "shop")).metadata.uid == made.metadata.uid


REFUSED: dict[str, tuple[str, dict[str, str], str]] = {
    "in another's name": ("own", {"node_name": OTHER}, 'NodeName="node-2", which is not the requesting node "node-1"'),
    "another's pod": ("other", {}, 'pod "shop/other" is not running on node "node-1"'),
    "a pod that is not there": ("own", {"pod_name": "gone"}, "which differs from running pod"),
    "a pod of before": ("own", {"pod_uid": "0"}, 'contains pod UID \\("0"\\) which differs from running pod'),
    "a node of before": ("own", {"node_uid": "0"}, 'names node UID "0", inconsistent with the running node'),
    "an account of before": ("own", {"service_account_uid": "0"}, 'names service account UID "0", which differs'),
    "another account": ("own", {"service_account_name": "runs-other"}, 'contains serviceAccountName \\("runs-other"\\) that differs'),
    "a mirror pod": ("static", {}, 'pod "shop/static" is a mirror pod'),
    "another signer": ("own", {"signer_name": "example.com/other"}, 'signer "example.com/other" not found in pod spec volume'),
    "a pod that asks for none": ("plain", {}, 'signer "example.com/mesh" not found in pod spec volume'),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_for_nothing_else(what: str, api: ApiInMemory, node: Client) -> None:
    name, changed, words = REFUSED[what]
    with pytest.raises(Forbidden, match=words):
        await node.create(await asked(api, name, **changed))


async def test_a_role_may_say_of_which_signers_else(api: ApiInMemory, node: Client) -> None:
    role = rbac.ClusterRole(metadata=meta.ObjectMeta(name="signers"))
    verb, group = "request-serviceaccounts-podcertificate-signer", "certificates.k8s.io"
    role.rules.add(verbs=[verb], api_groups=[group], resources=["example.com:other"], resource_names=["runs-own"])
    binding = rbac.RoleBinding(metadata=meta.ObjectMeta(name="signers", namespace="shop"))
    binding.role_ref.CopyFrom(rbac.RoleRef(api_group="rbac.authorization.k8s.io", kind="ClusterRole", name="signers"))
    binding.subjects.add(kind="Group", name="system:nodes", api_group="rbac.authorization.k8s.io")
    for made in (role, binding):
        await api.client().create(made)
    await node.create(await asked(api, "own", signer_name="example.com/other"))


ALLOWED: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "its request": lambda client: client.get(Asked, "req-own", "shop"),
    "its requests": lambda client: client.list(Asked, field_selector=f"spec.nodeName={OWN}"),
    "the account of its pod": lambda client: client.get(core.ServiceAccount, "runs-own", "shop"),
}
FORBIDDEN: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "another's request": lambda client: client.get(Asked, "req-other", "shop"),
    "all requests": lambda client: client.list(Asked),
    "another's requests": lambda client: client.list(Asked, field_selector=f"spec.nodeName={OTHER}"),
    "deleting its request": lambda client: client.delete(Asked, "req-own", "shop"),
    "changing its request": lambda client: client.patch(Asked, "req-own", "shop", patch={"metadata": {"labels": {"a": "b"}}}),
    "answering its request": lambda client: client.patch(Asked, "req-own", "shop", patch={"status": {}}, subresource="status"),
    "the account of another's pod": lambda client: client.get(core.ServiceAccount, "runs-other", "shop"),
    "the account of a mirror pod": lambda client: client.get(core.ServiceAccount, "runs-static", "shop"),
    "all accounts": lambda client: client.list(core.ServiceAccount, "shop"),
}


@pytest.mark.parametrize("what", [*ALLOWED, *FORBIDDEN])
async def test_what_it_sees_and_changes(what: str, api: ApiInMemory, node: Client) -> None:
    await api.client().create(await asked(api, "own"))
    await api.client().create(await asked(api, "other", OTHER))
    if what in ALLOWED:
        await ALLOWED[what](node)
        return
    with pytest.raises(Forbidden):
        await FORBIDDEN[what](node)


def issued(request: certificates.PodCertificateRequest, api: ApiInMemory, late: timedelta = timedelta()) -> Asked:
    now = (api.server.backend.clock() + late).replace(microsecond=0)
    key: Any = x509.load_der_x509_csr(REQUEST).public_key()
    status, ends = request.status, now + timedelta(hours=2)
    status.conditions.add(type="Issued", status="True", reason="Fine", last_transition_time=to_time(now))
    status.certificate_chain = AUTHORITY.sign(x509.Name([]), key, usages=["client auth"], names=None, begins=now, ends=ends).decode()
    for field, at in (("not_before", now), ("begin_refresh_at", now + timedelta(hours=1)), ("not_after", ends)):
        getattr(status, field).CopyFrom(to_time(at))
    return request


async def may_sign(api: ApiInMemory, *verbs: tuple[str, str, str]) -> None:
    """Lets the signer do what verbs, resources and names say."""
    role = rbac.ClusterRole(metadata=meta.ObjectMeta(name="mesh"))
    for verb, resource, name in verbs:
        role.rules.add(verbs=[verb], api_groups=["certificates.k8s.io"], resources=[resource], resource_names=[name] if name else [])
    binding = rbac.ClusterRoleBinding(metadata=meta.ObjectMeta(name="mesh"))
    binding.role_ref.CopyFrom(rbac.RoleRef(api_group="rbac.authorization.k8s.io", kind="ClusterRole", name="mesh"))
    binding.subjects.add(kind="User", name="mesh", api_group="rbac.authorization.k8s.io")
    for made in (role, binding):
        await api.client().create(made)


WRITES = ("update", "podcertificaterequests/status", "")


async def test_who_signs_for_the_signer_answers(api: ApiInMemory) -> None:
    await may_sign(api, WRITES, ("sign", "signers", SIGNER))
    made = await api.client().create(await asked(api, "own"))
    answered = await api.client(MESH).update(issued(made, api), subresource="status")
    assert answered.status.certificate_chain


async def test_who_may_write_the_status_alone_does_not(api: ApiInMemory) -> None:
    await may_sign(api, WRITES, ("sign", "signers", "example.com/other"))
    made = await api.client().create(await asked(api, "own"))
    words = r'spec.signerName: Forbidden: User "mesh" is not permitted to "sign" for signer "example.com/mesh"'
    with pytest.raises(Invalid, match=words):
        await api.client(MESH).update(issued(made, api), subresource="status")
    await api.client(MESH).update(await api.client().get(Asked, "req-own", "shop"), subresource="status")


@pytest.mark.parametrize("late", [timedelta(minutes=6), timedelta(minutes=-6)], ids=["later", "earlier"])
async def test_what_is_issued_begins_now(late: timedelta, api: ApiInMemory) -> None:
    await may_sign(api, WRITES, ("sign", "signers", "example.com/*"))
    made = await api.client().create(await asked(api, "own"))
    with pytest.raises(Invalid, match=r"status\.notBefore: .* must be set to within 5 minutes of kube-apiserver's current time"):
        await api.client(MESH).update(issued(made, api, late), subresource="status")


async def test_an_answer_that_comes_with_the_question_is_dropped(api: ApiInMemory, node: Client) -> None:
    made = await node.create(issued(await asked(api, "own"), api))
    assert not made.status.certificate_chain and not made.status.conditions
