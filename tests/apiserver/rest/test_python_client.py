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
