"""lightkube, which asks no discovery and spells everything itself, against a whole API server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from lightkube import ApiError, Client, KubeConfig, codecs
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.apps_v1 import DeploymentSpec
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Namespace
from lightkube.types import PatchType

from tests.apiserver.rest.live import LiveServer

pytestmark = pytest.mark.etcd

NAMESPACE = "lightkube"


@pytest.fixture(scope="module")
def client(live: LiveServer) -> Iterator[Any]:
    client: Any = Client(config=KubeConfig.from_file(str(live.kubeconfig)), namespace=NAMESPACE, field_manager="lightkube")
    client.create(Namespace(metadata=ObjectMeta(name=NAMESPACE)))
    yield client
    client.close()


@pytest.mark.client("lightkube", "create", "get", "patch", "update", "delete")
def test_objects(client: Any) -> None:
    made = client.create(ConfigMap(metadata=ObjectMeta(name="a", labels={"x": "y"}), data={"a": "b"}))
    assert client.patch(ConfigMap, "a", {"data": {"c": "d"}}, patch_type=PatchType.MERGE).data == {"a": "b", "c": "d"}
    assert client.patch(ConfigMap, "a", [{"op": "remove", "path": "/data/c"}], patch_type=PatchType.JSON).data == {"a": "b"}
    with pytest.raises(ApiError) as stale:
        client.replace(made)
    assert (stale.value.status.code, stale.value.status.reason) == (409, "Conflict")
    found = client.get(ConfigMap, "a")
    found.data["e"] = "f"
    assert client.replace(found).data == {"a": "b", "e": "f"}
    client.delete(ConfigMap, "a")
    with pytest.raises(ApiError) as gone:
        client.get(ConfigMap, "a")
    assert (gone.value.status.code, gone.value.status.reason) == (404, "NotFound")


@pytest.mark.client("lightkube", "list", "pages", "selectors", "watch", "deletecollection")
def test_pages_and_watches(client: Any) -> None:
    for name in ("p1", "p2", "p3"):
        client.create(ConfigMap(metadata=ObjectMeta(name=name, labels={"paged": "yes"})))
    assert [one.metadata.name for one in client.list(ConfigMap, labels={"paged": "yes"}, chunk_size=2)] == ["p1", "p2", "p3"]
    changes = client.watch(ConfigMap, labels={"paged": "yes"}, resource_version="0", server_timeout=5)
    assert [(kind, one.metadata.name) for kind, one in (next(changes) for _ in range(3))] == [
        ("ADDED", "p1"), ("ADDED", "p2"), ("ADDED", "p3"),
    ]  # fmt: skip
    client.deletecollection(ConfigMap)
    kind, one = next(changes)
    assert (kind, one.metadata.name[0]) == ("DELETED", "p")
    changes.close()


@pytest.mark.client("lightkube", "status", "scale")
def test_sub_resources(client: Any) -> None:
    template = PodTemplateSpec(metadata=ObjectMeta(labels={"a": "b"}), spec=PodSpec(containers=[Container(name="c", image="i")]))
    spec = DeploymentSpec(selector=LabelSelector(matchLabels={"a": "b"}), template=template)
    client.create(Deployment(metadata=ObjectMeta(name="d"), spec=spec))
    assert client.patch(Deployment.Scale, "d", {"spec": {"replicas": 3}}, patch_type=PatchType.MERGE).spec.replicas == 3
    assert (
        client.patch(Deployment.Status, "d", {"status": {"observedGeneration": 2}}, patch_type=PatchType.MERGE).status.observedGeneration
        == 2
    )
    strategic = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}}}
    assert client.patch(Deployment, "d", strategic).spec.template.spec.containers[0].image == "j"


@pytest.mark.client("lightkube", "generic resources")
def test_resources_of_no_model(client: Any) -> None:
    leases = create_namespaced_resource("coordination.k8s.io", "v1", "Lease", "leases")
    lease = codecs.from_dict(
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}}
    )
    client.create(lease)
    assert client.get(leases, "l").spec["holderIdentity"] == "me"
