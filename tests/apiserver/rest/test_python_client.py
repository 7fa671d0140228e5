"""The official Python client, typed and dynamic, against a whole API server."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client as models
from kubernetes import dynamic, watch
from kubernetes.stream import portforward, stream

from knarr.api.core.v1 import core_pb2 as core_api
from knarr.api.meta.v1 import meta_pb2 as meta
from tests.apiserver.rest.live import TOKEN, LiveServer

pytestmark = pytest.mark.etcd


@pytest.fixture
def connection(live: LiveServer) -> Iterator[Any]:
    configuration = models.Configuration(host=live.url, api_key={"authorization": f"Bearer {TOKEN}"})
    configuration.ssl_ca_cert = str(live.ca)
    with models.ApiClient(configuration) as connection:
        yield connection
        connection.rest_client.pool_manager.clear()
    # The client leaves its sockets to the garbage collector.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@pytest.mark.client("kubernetes", "create", "get", "list", "patch", "delete")
def test_typed(connection: Any) -> None:
    core: Any = models.CoreV1Api(connection)
    created = core.create_namespaced_config_map("default", config_map("typed", a="b"))
    assert core.read_namespaced_config_map("typed", "default").data == {"a": "b"}
    patched = core.patch_namespaced_config_map("typed", "default", {"data": {"c": "d"}})
    assert patched.data == {"a": "b", "c": "d"}
    assert patched.metadata.resource_version != created.metadata.resource_version
    assert [item.metadata.name for item in core.list_config_map_for_all_namespaces(field_selector="metadata.name=typed").items] == ["typed"]
    assert core.delete_namespaced_config_map("typed", "default")["status"] == "Success"
    with pytest.raises(models.ApiException) as caught:
        core.read_namespaced_config_map("typed", "default")
    assert (caught.value.status, caught.value.reason) == (404, "Not Found")


@pytest.mark.client("kubernetes", "watch")
def test_watch(connection: Any) -> None:
    core: Any = models.CoreV1Api(connection)
    revision = core.list_namespaced_secret("default").metadata.resource_version
    core.create_namespaced_secret("default", {"metadata": {"name": "watched"}, "stringData": {"a": "b"}})
    core.delete_namespaced_secret("watched", "default")
    events = watch.Watch().stream(core.list_namespaced_secret, "default", resource_version=revision, timeout_seconds=1)
    assert [(event["type"], event["object"].metadata.name) for event in events] == [("ADDED", "watched"), ("DELETED", "watched")]


def test_a_watch_from_the_future_is_refused(connection: Any) -> None:
    core: Any = models.CoreV1Api(connection)
    with pytest.raises(models.ApiException) as caught:
        core.list_namespaced_secret("default", resource_version="99999999")
    assert caught.value.status == 504


@pytest.mark.client("kubernetes", "the dynamic client", "scale")
def test_dynamic(connection: Any) -> None:
    found = dynamic.DynamicClient(connection)
    deployments = found.resources.get(api_version="apps/v1", kind="Deployment")
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    body = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }  # fmt: skip
    assert deployments.create(body=body, namespace="default").spec.replicas == 1
    patch = {"spec": {"replicas": 2}}
    assert deployments.patch(body=patch, name="d", namespace="default", content_type="application/merge-patch+json").spec.replicas == 2
    assert deployments.scale.get(name="d", namespace="default").kind == "Scale"
    deployments.delete(name="d", namespace="default")


@pytest.fixture(scope="module")
def pod(live: LiveServer) -> str:
    """A pod on a scripted node."""
    live.call(live.client.create(core_api.Node(metadata=meta.ObjectMeta(name="n"))))
    spec = core_api.PodSpec(node_name="n", containers=[core_api.Container(name="c", image="i", stdin=True)])
    live.call(live.client.create(core_api.Pod(metadata=meta.ObjectMeta(name="p", namespace="default"), spec=spec)))
    return "p"


@pytest.mark.client("kubernetes", "exec", "logs")
def test_exec_and_logs(connection: Any, pod: str) -> None:
    core: Any = models.CoreV1Api(connection)
    assert core.read_namespaced_pod_log(pod, "default", tail_lines=1) == "p/c line 0\n"
    options = {"stdout": True, "stderr": True, "stdin": False, "tty": False, "_preload_content": False}
    channel = stream(core.connect_get_namespaced_pod_exec, pod, "default", command=["exit", "3"], **options)
    try:
        channel.run_forever(timeout=10)
        assert (channel.read_stderr(), channel.returncode) == ("failing\n", 3)
    finally:
        channel.close()
        del channel


@pytest.mark.client("kubernetes", "attach")
def test_attach(connection: Any, pod: str) -> None:
    core: Any = models.CoreV1Api(connection)
    options = {"stdout": True, "stderr": True, "stdin": True, "tty": False, "_preload_content": False}
    channel = stream(core.connect_get_namespaced_pod_attach, pod, "default", **options)
    try:
        assert channel.readline_stdout(timeout=10) == "attached"
        channel.write_stdin("hello\n")
        assert channel.readline_stdout(timeout=10) == "hello"
    finally:
        channel.close()
        del channel


@pytest.mark.client("kubernetes", "port-forward")
def test_port_forward(connection: Any, pod: str) -> None:
    core: Any = models.CoreV1Api(connection)
    forwarded = portforward(core.connect_get_namespaced_pod_portforward, pod, "default", ports="80,81")
    connection = forwarded.socket(80)
    connection.settimeout(10)
    connection.sendall(b"hello")
    assert connection.recv(100) == b"echo hello"
    connection.close()
    refused = forwarded.socket(81)
    assert refused.recv(100) == b""
    assert "failed to connect to localhost:81 inside the pod: connection refused" in forwarded.error(81)
    refused.close()


@pytest.mark.client("kubernetes", "selectors", "pages", "dry run", "deletecollection")
def test_pages_selectors_and_dry_runs(connection: Any) -> None:
    core: Any = models.CoreV1Api(connection)
    for name in ("p1", "p2", "p3"):
        core.create_namespaced_config_map("default", {"metadata": {"name": name, "labels": {"paged": "yes"}}})
    page = core.list_namespaced_config_map("default", label_selector="paged=yes", limit=2)
    rest = core.list_namespaced_config_map("default", label_selector="paged=yes", limit=2, _continue=page.metadata._continue)
    assert [one.metadata.name for one in (*page.items, *rest.items)] == ["p1", "p2", "p3"]
    assert page.metadata.remaining_item_count is None and page.metadata.resource_version == rest.metadata.resource_version
    core.create_namespaced_config_map("default", config_map("dry"), dry_run="All")
    core.patch_namespaced_config_map("p1", "default", {"data": {"a": "b"}}, dry_run="All")
    core.delete_namespaced_config_map("p2", "default", dry_run="All")
    core.delete_collection_namespaced_config_map("default", label_selector="paged=yes", dry_run="All")
    found = core.list_namespaced_config_map("default", label_selector="paged=yes").items
    assert [(one.metadata.name, one.data) for one in found] == [("p1", None), ("p2", None), ("p3", None)]
    with pytest.raises(models.ApiException) as missing:
        core.read_namespaced_config_map("dry", "default")
    assert missing.value.status == 404
    core.delete_collection_namespaced_config_map("default", label_selector="paged=yes")
    assert core.list_namespaced_config_map("default", label_selector="paged=yes").items == []


@pytest.mark.client("kubernetes", "status", "scale", "patch", "update")
def test_sub_resources_and_patches_of_each_type(connection: Any) -> None:
    apps: Any = models.AppsV1Api(connection)
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    apps.create_namespaced_deployment("default", {"metadata": {"name": "parts"}, "spec": spec})
    assert apps.patch_namespaced_deployment_scale("parts", "default", {"spec": {"replicas": 4}}).spec.replicas == 4
    scale = apps.read_namespaced_deployment_scale("parts", "default")
    scale.spec.replicas = 2
    assert apps.replace_namespaced_deployment_scale("parts", "default", scale).spec.replicas == 2
    containers = [{"name": "d", "image": "j"}]
    strategic = apps.patch_namespaced_deployment("parts", "default", {"spec": {"template": {"spec": {"containers": containers}}}})
    assert [one.name for one in strategic.spec.template.spec.containers] == ["d", "c"]
    json_patch = [{"op": "remove", "path": "/spec/template/spec/containers/1"}]
    assert len(apps.patch_namespaced_deployment("parts", "default", json_patch).spec.template.spec.containers) == 1
    status = apps.patch_namespaced_deployment_status("parts", "default", {"status": {"observedGeneration": 3}})
    assert (status.status.observed_generation, status.spec.replicas) == (3, 2)
    apps.delete_namespaced_deployment("parts", "default", propagation_policy="Background")


@pytest.mark.client("kubernetes", "field validation")
def test_field_validation(connection: Any) -> None:
    core: Any = models.CoreV1Api(connection)
    core.create_namespaced_config_map("default", config_map("strict"))
    given: Any = ("strict", "default", {"dat": {}})
    _, _, headers = core.patch_namespaced_config_map_with_http_info(*given, field_validation="Warn")
    assert headers["warning"] == r'299 - "unknown field \"dat\""'
    with pytest.raises(models.ApiException) as refused:
        core.patch_namespaced_config_map(*given, field_validation="Strict")
    assert refused.value.status == 422
    core.delete_namespaced_config_map("strict", "default")


@pytest.mark.client("kubernetes", "discovery")
def test_what_is_served(connection: Any) -> None:
    assert models.VersionApi(connection).get_code().major == "1"
    assert "apps" in [group.name for group in models.ApisApi(connection).get_api_versions().groups]
    resources = {one.name: one for one in models.CoreV1Api(connection).get_api_resources().resources}
    assert resources["pods"].storage_version_hash == "xPOwRZ+Yhw8=" and "pods/exec" in resources
    assert models.CoreApi(connection).get_api_versions().versions == ["v1"]
    core: Any = models.CoreV1Api(connection)
    namespace = core.read_namespace("default")
    assert core.read_namespaced_service("kubernetes", namespace.metadata.name).spec.cluster_ip


def test_dynamic_watch(connection: Any) -> None:
    found = dynamic.DynamicClient(connection)
    maps = found.resources.get(api_version="v1", kind="ConfigMap")
    revision = maps.get(namespace="default").metadata.resourceVersion
    maps.create(body=config_map("seen"), namespace="default")
    maps.delete(name="seen", namespace="default")
    changes = maps.watch(namespace="default", resource_version=revision, timeout=1)
    assert [(change["type"], change["object"].metadata.name) for change in changes] == [("ADDED", "seen"), ("DELETED", "seen")]
