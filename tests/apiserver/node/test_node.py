"""What a node's credentials reach: its own Node, Lease and pods, and what those name; nothing of another node's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from knarr.api.authentication.v1 import authentication_pb2 as authentication
from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.client.client import Client
from knarr.machinery.errors import Forbidden
from knarr.objects import local_path
from knarr.objects.binding import PROVISIONED_BY
from knarr.objects.pods import MIRROR
from services.apiserver.admission.node_restriction.labels import forbidden_labels
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rbac.defaults import defaults
from tests.support.rights import kubelet
from tests.support.signing import signing_keys, signing_request

OWN, OTHER = "node-1", "node-2"


def pod(name: str, node: str) -> core.Pod:
    """Of the account `runs-NAME`, with a Secret, a ConfigMap, a claim and the Secret of its images, all called after it."""
    found = core.Pod(metadata=meta.ObjectMeta(name=name, namespace="shop"))
    found.spec.node_name, found.spec.service_account_name = node, f"runs-{name}"
    found.spec.containers.add(name="main", image="app:1").env_from.add().secret_ref.local_object_reference.name = f"secret-{name}"
    volume = found.spec.volumes.add(name="settings")
    volume.volume_source.config_map.local_object_reference.name = f"settings-{name}"
    shown = found.spec.volumes.add(name="tokens").volume_source.projected
    for audience in ("", "vault"):
        shown.sources.add().service_account_token.MergeFrom(core.ServiceAccountTokenProjection(path=f"for-{audience}", audience=audience))
    found.spec.volumes.add(name="data").volume_source.persistent_volume_claim.claim_name = f"data-{name}"
    found.spec.image_pull_secrets.add(name=f"pull-{name}")
    return found


def volume(name: str, claim: str) -> core.PersistentVolume:
    found = core.PersistentVolume(metadata=meta.ObjectMeta(name=name))
    found.spec.claim_ref.namespace, found.spec.claim_ref.name = "shop", claim
    return found


def folder(name: str, node: str) -> core.PersistentVolume:
    """A volume of local-path that is being deleted."""
    found = volume(name, "gone")
    found.metadata.labels[local_path.NODE_LABEL], found.metadata.annotations[PROVISIONED_BY] = node, local_path.PROVISIONER
    found.metadata.finalizers.append(local_path.FINALIZER)
    found.spec.access_modes.append("ReadWriteOnce")
    found.spec.capacity["storage"].string = "1Gi"
    found.spec.persistent_volume_source.local.path = f"/srv/{name}"
    term = found.spec.node_affinity.required.node_selector_terms.add()
    term.match_expressions.add(key="kubernetes.io/hostname", operator="In", values=[node])
    found.metadata.deletion_timestamp.seconds, found.status.phase = 1, "Released"
    return found


def _lists_folders(selector: str) -> Callable[[Client], Awaitable[Any]]:
    return lambda client: client.list(core.PersistentVolume, label_selector=selector)


def _lets_go(name: str, **metadata: Any) -> Callable[[Client], Awaitable[Any]]:
    """Writes the volume without the finalizer, and with other things of its metadata."""

    async def write(client: Client) -> Any:
        found = folder(name, OWN if name.endswith("own") else OTHER)
        live = await client.get(core.PersistentVolume, name) if name.endswith("own") else found
        live.metadata.finalizers.remove(local_path.FINALIZER)
        live.metadata.labels.update(metadata)
        return await client.update(live)

    return write


def objects() -> list[Any]:
    found: list[Any] = [*defaults()]
    for node, name in ((OWN, "own"), (OTHER, "other")):
        found += [
            core.Node(metadata=meta.ObjectMeta(name=node)),
            coordination.Lease(metadata=meta.ObjectMeta(name=node, namespace="kube-node-lease")),
            storage.CSINode(metadata=meta.ObjectMeta(name=node)),
            core.ServiceAccount(metadata=meta.ObjectMeta(name=f"runs-{name}", namespace="shop")),
            core.Secret(metadata=meta.ObjectMeta(name=f"secret-{name}", namespace="shop")),
            core.Secret(metadata=meta.ObjectMeta(name=f"pull-{name}", namespace="shop")),
            core.ConfigMap(metadata=meta.ObjectMeta(name=f"settings-{name}", namespace="shop")),
            core.PersistentVolumeClaim(metadata=meta.ObjectMeta(name=f"data-{name}", namespace="shop")),
            volume(f"volume-{name}", f"data-{name}"),
            folder(f"folder-{name}", node),
            resource.ResourceSlice(metadata=meta.ObjectMeta(name=f"cards-{name}"), spec=resource.ResourceSliceSpec(node_name=node)),
            pod(name, node),
        ]
    return [*found, core.Secret(metadata=meta.ObjectMeta(name="secret-own", namespace="default"))]


@pytest.fixture
async def api() -> AsyncIterator[ApiInMemory]:
    made = ApiInMemory(keys=signing_keys())
    made.seed(*objects(), checked=False)
    async with made:
        yield made


@pytest.fixture
def node(api: ApiInMemory) -> Client:
    return api.client(kubelet(OWN))


def _lists(kind: Any, namespace: str = "", selector: str = "") -> Callable[[Client], Awaitable[Any]]:
    return lambda client: client.list(kind, namespace, field_selector=selector)


def _gets(kind: Any, name: str, namespace: str = "shop") -> Callable[[Client], Awaitable[Any]]:
    return lambda client: client.get(kind, name, namespace)


def _asks_for_a_token(account: str, bound: str, uid: str = "", *audiences: str) -> Callable[[Client], Awaitable[Any]]:
    request = authentication.TokenRequest(metadata=meta.ObjectMeta(namespace="shop"))
    request.spec.audiences.extend(audiences)
    if bound:
        request.spec.bound_object_ref.CopyFrom(authentication.BoundObjectReference(api_version="v1", kind="Pod", name=bound, uid=uid))
    return lambda client: client.create(request, subresource="token", name=account)


def _evicts(name: str) -> Callable[[Client], Awaitable[Any]]:
    eviction = policy.Eviction(metadata=meta.ObjectMeta(name=name, namespace="shop"))
    return lambda client: client.create(eviction, subresource="eviction", name=name)


ALLOWED: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "a Secret that its pod names": _gets(core.Secret, "secret-own"),
    "the Secret of its pod's images": _gets(core.Secret, "pull-own"),
    "a ConfigMap that its pod names": _gets(core.ConfigMap, "settings-own"),
    "the same by name in a list": _lists(core.Secret, "shop", "metadata.name=secret-own"),
    "a claim that its pod names": _gets(core.PersistentVolumeClaim, "data-own"),
    "the volume of that claim": _gets(core.PersistentVolume, "volume-own", ""),
    "a volume that is its folder": _gets(core.PersistentVolume, "folder-own", ""),
    "all of them": _lists_folders(f"{local_path.NODE_LABEL}={OWN}"),
    "its pod": _gets(core.Pod, "own"),
    "its pods": _lists(core.Pod, "", f"spec.nodeName={OWN}"),
    "its pod by name in a list": _lists(core.Pod, "shop", "metadata.name=own"),
    "the account of its pod": _gets(core.ServiceAccount, "runs-own"),
    "its node": _gets(core.Node, OWN, ""),
    "its node in a list": _lists(core.Node, "", f"metadata.name={OWN}"),
    "its lease": _gets(coordination.Lease, OWN, "kube-node-lease"),
    "services": _lists(core.Service),
    "its CSINode": _gets(storage.CSINode, OWN, ""),
    "what its drivers tell of its devices": _lists(resource.ResourceSlice, "", f"spec.nodeName={OWN}"),
    "what one of them tells": _lists(resource.ResourceSlice, "", f"spec.driver=cards.example.com,spec.nodeName={OWN}"),
    "taking back what one told": lambda client: client.delete(resource.ResourceSlice, "cards-own"),
}
REFUSED: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "a Secret of another node's pod": _gets(core.Secret, "secret-other"),
    "one of that name elsewhere": _gets(core.Secret, "secret-own", "default"),
    "one that is not there": _gets(core.Secret, "none"),
    "all Secrets of a namespace": _lists(core.Secret, "shop"),
    "all Secrets": _lists(core.Secret),
    "by another field": _lists(core.Secret, "shop", "type=Opaque"),
    "all ConfigMaps": _lists(core.ConfigMap),
    "a ConfigMap of another node's pod": _gets(core.ConfigMap, "settings-other"),
    "another's claim": _gets(core.PersistentVolumeClaim, "data-other"),
    "all claims": _lists(core.PersistentVolumeClaim, "shop"),
    "another's volume": _gets(core.PersistentVolume, "volume-other", ""),
    "another's folder": _gets(core.PersistentVolume, "folder-other", ""),
    "all folders": _lists_folders(local_path.NODE_LABEL),
    "another's folders": _lists_folders(f"{local_path.NODE_LABEL}={OTHER}"),
    "folders of two": _lists_folders(f"{local_path.NODE_LABEL} in ({OTHER},{OWN})"),
    "folders of all nodes but one": _lists_folders(f"{local_path.NODE_LABEL}!={OTHER}"),
    "all volumes": _lists_folders(""),
    "letting go of another's folder": _lets_go("folder-other"),
    "making its folder another's": _lets_go("folder-own", **{local_path.NODE_LABEL: OTHER}),
    "deleting its folder": lambda client: client.delete(core.PersistentVolume, "folder-own"),
    "another node's pod": _gets(core.Pod, "other"),
    "all pods": _lists(core.Pod),
    "another node's pods": _lists(core.Pod, "", f"spec.nodeName={OTHER}"),
    "pods of all nodes but one": _lists(core.Pod, "", f"spec.nodeName!={OTHER}"),
    "another node": _gets(core.Node, OTHER, ""),
    "all nodes": _lists(core.Node),
    "another node in a list": _lists(core.Node, "", f"metadata.name={OTHER}"),
    "nodes but one": _lists(core.Node, "", f"metadata.name!={OTHER}"),
    "another's lease": _gets(coordination.Lease, OTHER, "kube-node-lease"),
    "leases elsewhere": _gets(coordination.Lease, OWN, "default"),
    "another's account": _gets(core.ServiceAccount, "runs-other"),
    "all accounts": _lists(core.ServiceAccount, "shop"),
    "another's CSINode": _gets(storage.CSINode, OTHER, ""),
    "all devices": _lists(resource.ResourceSlice),
    "another's devices": _lists(resource.ResourceSlice, "", f"spec.nodeName={OTHER}"),
    "reading one slice of its devices": _gets(resource.ResourceSlice, "cards-own", ""),
    "taking back what another's driver told": lambda client: client.delete(resource.ResourceSlice, "cards-other"),
    "taking back what is not there": lambda client: client.delete(resource.ResourceSlice, "cards-none"),
    "telling of devices": lambda client: client.create(
        resource.ResourceSlice(metadata=meta.ObjectMeta(name="more"), spec=resource.ResourceSliceSpec(node_name=OWN))
    ),
    "roles": _lists(rbac.ClusterRole),
    "a token of another's account": _asks_for_a_token("runs-other", "other"),
    "a token that is bound to nothing": _asks_for_a_token("runs-own", ""),
    "a token bound to a pod without its uid": _asks_for_a_token("runs-own", "own"),
    "a token bound to another uid": _asks_for_a_token("runs-own", "own", "0"),
    "a token bound to another node's pod": _asks_for_a_token("runs-own", "other", "0"),
    "deleting another node's pod": lambda client: client.delete(core.Pod, "other", "shop"),
    "evicting another node's pod": _evicts("other"),
    "deleting its node": lambda client: client.delete(core.Node, OWN),
    "making a node": lambda client: client.create(core.Node(metadata=meta.ObjectMeta(name="more"))),
    "making a lease of another": lambda client: client.create(
        coordination.Lease(metadata=meta.ObjectMeta(name="more", namespace="kube-node-lease"))
    ),
    "making a pod": lambda client: client.create(pod("more", OWN)),
    "making a Secret": lambda client: client.create(core.Secret(metadata=meta.ObjectMeta(name="more", namespace="shop"))),
    "labels of another node": lambda client: client.patch(core.Node, OTHER, patch={"metadata": {"labels": {"a": "b"}}}),
    "labels that keep nodes apart": lambda client: client.patch(
        core.Node, OWN, patch={"metadata": {"labels": {"node-restriction.kubernetes.io/tier": "secret"}}}
    ),
    "its taints": lambda client: client.patch(core.Node, OWN, patch={"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}),
    "the status of another node's pod": lambda client: client.patch(
        core.Pod, "other", "shop", patch={"status": {"phase": "Failed"}}, subresource="status"
    ),
    "the spec of its pod": lambda client: client.patch(core.Pod, "own", "shop", patch={"metadata": {"labels": {"a": "b"}}}),
    "labels through its pod's status": lambda client: client.patch(
        core.Pod, "own", "shop", patch={"metadata": {"labels": {"a": "b"}}}, subresource="status"
    ),
}


@pytest.mark.parametrize("what", ALLOWED)
async def test_it_may_see(what: str, node: Client) -> None:
    await ALLOWED[what](node)


@pytest.mark.parametrize("what", REFUSED)
async def test_it_may_not(what: str, node: Client) -> None:
    with pytest.raises(Forbidden):
        await REFUSED[what](node)


@pytest.mark.parametrize("what", [*ALLOWED, *REFUSED])
async def test_one_that_does_not_say_which_it_is_may_do_nothing(what: str, api: ApiInMemory) -> None:
    with pytest.raises(Forbidden):
        await {**ALLOWED, **REFUSED}[what](api.client(kubelet("")))


async def test_it_lets_go_of_a_volume_that_is_its_folder(api: ApiInMemory, node: Client) -> None:
    await _lets_go("folder-own")(node)
    left = [found.metadata.name for found in (await api.client().list(core.PersistentVolume)).items]
    assert "folder-own" not in left and "folder-other" in left


async def test_it_writes_what_is_its_own(node: Client) -> None:
    await node.patch(core.Node, OWN, patch={"metadata": {"labels": {"kubernetes.io/os": "linux", "example.com/rack": "4"}}})
    await node.patch(core.Node, OWN, patch={"status": {"phase": "Running"}}, subresource="status")
    await node.patch(coordination.Lease, OWN, "kube-node-lease", patch={"spec": {"holderIdentity": OWN}})
    await node.patch(core.Pod, "own", "shop", patch={"status": {"phase": "Running"}}, subresource="status")
    uid = (await node.get(core.Pod, "own", "shop")).metadata.uid
    assert (await _asks_for_a_token("runs-own", "own", uid)(node)).status.token
    await node.delete(core.Pod, "own", "shop", grace_period_seconds=0)


NOT_SHOWN = 'audience "{}" not found in pod spec volume, system:node:node-1 is not authorized to request tokens for this audience'


@pytest.mark.parametrize(
    ("audiences", "words"),
    [
        ((), ""),
        (("vault",), ""),
        (("elsewhere",), NOT_SHOWN.format("elsewhere")),
        (("vault", "elsewhere"), "node may only request 0 or 1 audiences"),
        (("driven",), NOT_SHOWN.format("driven")),
    ],
    ids=["the-servers", "one-that-a-volume-names", "another", "two", "no-driver-yet"],
)
async def test_tokens_are_for_whom_the_pods_volumes_name(audiences: tuple[str, ...], words: str, node: Client) -> None:
    uid = (await node.get(core.Pod, "own", "shop")).metadata.uid
    asking = _asks_for_a_token("runs-own", "own", uid, *audiences)
    if not words:
        assert (await asking(node)).status.token
        return
    with pytest.raises(Forbidden, match=words):
        await asking(node)


async def test_the_driver_of_a_claims_volume_is_given_the_tokens_that_it_asks_for(api: ApiInMemory, node: Client) -> None:
    uid = (await node.get(core.Pod, "own", "shop")).metadata.uid
    asking = _asks_for_a_token("runs-own", "own", uid, "driven")
    driver = storage.CSIDriver(metadata=meta.ObjectMeta(name="csi.example.com"))
    driver.spec.token_requests.add(audience="driven")
    claim = await api.client().get(core.PersistentVolumeClaim, "data-own", "shop")
    claim.spec.volume_name = "volume-own"
    found = await api.client().get(core.PersistentVolume, "volume-own")
    found.spec.persistent_volume_source.csi.driver = "csi.example.com"
    api.seed(claim, found, checked=False)
    with pytest.raises(Forbidden, match="audience"):
        await asking(node)
    api.seed(driver, checked=False)
    await api.settle()
    assert (await asking(node)).status.token


async def test_it_sees_the_secrets_that_volumes_of_its_pods_claims_name(api: ApiInMemory, node: Client) -> None:
    """And not those of a volume that is another claim's, whatever the claim says."""
    for name, claim in (("mine", "data-own"), ("theirs", "data-other")):
        found = volume(f"disk-{name}", claim)
        source = found.spec.persistent_volume_source.csi
        source.driver, source.volume_handle = "disks.example.com", name
        source.node_stage_secret_ref.namespace, source.node_stage_secret_ref.name = "vault", f"key-{name}"
        secret = core.Secret(metadata=meta.ObjectMeta(name=f"key-{name}", namespace="vault"))
        api.seed(found, secret, core.Secret(metadata=meta.ObjectMeta(name=f"unnamed-{name}", namespace="vault")), checked=False)
    bound = core.PersistentVolumeClaim(metadata=meta.ObjectMeta(name="data-own", namespace="shop"))
    for seen in ("mine", "theirs"):
        bound.spec.volume_name = f"disk-{seen}"
        api.seed(bound, checked=False)
        await api.settle()
        for name in ("key-mine", "key-theirs", "unnamed-mine"):
            if name == "key-mine" and seen == "mine":
                await node.get(core.Secret, name, "vault")
            else:
                with pytest.raises(Forbidden):
                    await node.get(core.Secret, name, "vault")


@pytest.mark.parametrize(
    ("field", "is_read"),
    [
        ("node_stage_secret_ref", True),
        ("node_publish_secret_ref", True),
        ("node_expand_secret_ref", True),
        ("controller_publish_secret_ref", False),
        ("controller_expand_secret_ref", False),
    ],
)
async def test_a_volumes_secrets_for_its_drivers_other_part_are_not_a_nodes(
    api: ApiInMemory, node: Client, field: str, is_read: bool
) -> None:
    found = volume("disk", "data-own")
    source = found.spec.persistent_volume_source.csi
    source.driver, source.volume_handle = "disks.example.com", "disk"
    getattr(source, field).MergeFrom(core.SecretReference(namespace="vault", name="key"))
    bound = core.PersistentVolumeClaim(metadata=meta.ObjectMeta(name="data-own", namespace="shop"))
    bound.spec.volume_name = "disk"
    api.seed(found, bound, core.Secret(metadata=meta.ObjectMeta(name="key", namespace="vault")), checked=False)
    await api.settle()
    if is_read:
        await node.get(core.Secret, "key", "vault")
        return
    with pytest.raises(Forbidden):
        await node.get(core.Secret, "key", "vault")


async def test_an_inline_volumes_secret_is_named_by_its_pod(api: ApiInMemory, node: Client) -> None:
    named = pod("driven", OWN)
    source = named.spec.volumes.add(name="inline").volume_source.csi
    source.driver, source.node_publish_secret_ref.name = "disks.example.com", "key"
    api.seed(named, core.Secret(metadata=meta.ObjectMeta(name="key", namespace="shop")), checked=False)
    await api.settle()
    await node.get(core.Secret, "key", "shop")


async def test_a_role_may_say_for_whom_else(api: ApiInMemory, node: Client) -> None:
    uid = (await node.get(core.Pod, "own", "shop")).metadata.uid
    role = rbac.ClusterRole(metadata=meta.ObjectMeta(name="audiences"))
    role.rules.add(verbs=["request-serviceaccounts-token-audience"], api_groups=[""], resources=["elsewhere"], resource_names=["runs-own"])
    binding = rbac.RoleBinding(metadata=meta.ObjectMeta(name="audiences", namespace="shop"))
    binding.role_ref.CopyFrom(rbac.RoleRef(api_group="rbac.authorization.k8s.io", kind="ClusterRole", name="audiences"))
    binding.subjects.add(kind="Group", name="system:nodes", api_group="rbac.authorization.k8s.io")
    await api.client().create(role)
    await api.client().create(binding)
    assert (await _asks_for_a_token("runs-own", "own", uid, "elsewhere")(node)).status.token
    with pytest.raises(Forbidden, match="audience"):
        await _asks_for_a_token("runs-own", "own", uid, "further")(node)


def asks_for_a_certificate(common_name: str, signer: str) -> certificates.CertificateSigningRequest:
    made = certificates.CertificateSigningRequest(metadata=meta.ObjectMeta(name="asked"))
    made.spec.request, made.spec.signer_name = signing_request(common_name, ["system:nodes"]), signer
    made.spec.usages.extend(["digital signature", "client auth"])
    return made


@pytest.mark.parametrize("signer", ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"])
async def test_certificates_of_kubelets_are_asked_for_in_its_own_name(signer: str, api: ApiInMemory, node: Client) -> None:
    for name in ("system:node:node-2", "system:node:", "node-1"):
        with pytest.raises(Forbidden, match="can only create a node CSR with CN=system:node:node-1"):
            await node.create(asks_for_a_certificate(name, signer))
    await node.create(asks_for_a_certificate("system:node:node-1", signer))


async def test_certificates_of_others_are_their_approvers_affair(node: Client) -> None:
    await node.create(asks_for_a_certificate("somebody", "example.com/signer"))


async def test_what_a_pod_names_is_seen_while_the_pod_is_there_and_on_that_node(api: ApiInMemory, node: Client) -> None:
    late = pod("late", "")
    api.seed(core.Secret(metadata=meta.ObjectMeta(name="secret-late", namespace="shop")), late, checked=False)
    await api.settle()
    read = _gets(core.Secret, "secret-late")
    with pytest.raises(Forbidden):
        await read(node)
    binding = core.Binding(metadata=meta.ObjectMeta(name="late", namespace="shop"), target=core.ObjectReference(kind="Node", name=OWN))
    await api.client().create(binding, subresource="binding", name="late")
    await read(node)
    with pytest.raises(Forbidden):
        await read(api.client(kubelet(OTHER)))
    await api.client().delete(core.Pod, "late", "shop", grace_period_seconds=0)
    with pytest.raises(Forbidden):
        await read(node)


def mirror(uid: str) -> core.Pod:
    """A pod of its own that names nothing, as a node shows it."""
    found = core.Pod(metadata=meta.ObjectMeta(name="static", namespace="shop", annotations={MIRROR: "hash"}))
    found.metadata.owner_references.add(api_version="v1", kind="Node", name=OWN, uid=uid, controller=True)
    found.spec.node_name = OWN
    found.spec.containers.add(name="main", image="app:1")
    return found


async def test_a_mirror_pod_opens_nothing(node: Client) -> None:
    made = mirror((await node.get(core.Node, OWN)).metadata.uid)
    made.spec.containers[0].env_from.add().config_map_ref.local_object_reference.name = "settings-other"
    with pytest.raises(Forbidden, match="can not create pods that reference configmaps"):
        await node.create(made)
    made.spec.containers[0].ClearField("env_from")
    await node.create(made)


async def test_what_a_mirror_pod_names_is_not_seen_whoever_made_it(api: ApiInMemory, node: Client) -> None:
    made = pod("static", OWN)
    made.metadata.annotations[MIRROR] = "hash"
    api.seed(core.Secret(metadata=meta.ObjectMeta(name="secret-static", namespace="shop")), made, checked=False)
    await api.settle()
    with pytest.raises(Forbidden):
        await _gets(core.Secret, "secret-static")(node)
    await _gets(core.Pod, "static")(node)


async def test_it_may_not_become_another_by_a_role_of_its_own(node: Client) -> None:
    made = rbac.ClusterRoleBinding(metadata=meta.ObjectMeta(name="more"))
    made.role_ref.CopyFrom(rbac.RoleRef(api_group="rbac.authorization.k8s.io", kind="ClusterRole", name="cluster-admin"))
    with pytest.raises(Forbidden):
        await node.create(made)


@pytest.mark.parametrize(
    ("label", "forbidden"),
    [
        ("kubernetes.io/hostname", False),
        ("kubelet.kubernetes.io/a", False),
        ("a.node.kubernetes.io/b", False),
        ("example.com/a", False),
        ("plain", False),
        ("notkubernetes.io/a", False),
        ("kubernetes.io/a", True),
        ("node-role.kubernetes.io/control-plane", True),
        ("node-restriction.kubernetes.io/a", True),
        ("a.k8s.io/b", True),
    ],
)
def test_labels(label: str, forbidden: bool) -> None:
    assert forbidden_labels({label: "x"}, {}) == ([label] if forbidden else [])
    assert forbidden_labels({}, {label: "x"}) == ([label] if forbidden else [])
    assert not forbidden_labels({label: "x"}, {label: "x"})
