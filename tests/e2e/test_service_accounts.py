"""What a program in a pod does first: the official client finds token, certificate and server, and asks as its account."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.config.incluster_config import InClusterConfigLoader

from tests.support.engine import IMAGE, ensure_image
from tests.support.knarr_cluster import BIN, KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.etcd, pytest.mark.docker, pytest.mark.timeout(180)]
CONTAINER = {"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent"}
VOLUME = "kube-api-access-"
NAME = "system:serviceaccount:default:robot"


def client_in(folder: Path, host: str, port: int) -> Any:
    configuration = client.Configuration()
    environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(port)}
    loader = InClusterConfigLoader(str(folder / "token"), str(folder / "ca.crt"), environ=environment)
    loader.load_and_set(configuration)
    return client.CoreV1Api(client.ApiClient(configuration))


def folder_of(cluster: KnarrCluster, pod: dict[str, Any]) -> Path:
    """What the pod's containers see of their account, as it lies on the node."""
    name = next(volume["name"] for volume in pod["spec"]["volumes"] if volume["name"].startswith(VOLUME))
    return Path(cluster.data_dir) / "kubelet" / "pods" / str(pod["metadata"]["uid"]) / "volumes" / str(name)


def refused(call: Any, *arguments: Any) -> int:
    with pytest.raises(ApiException) as error:
        call(*arguments)
    return int(error.value.status)


def test_a_program_in_a_pod_asks_as_its_account(tmp_path: Path) -> None:
    ensure_image()
    cluster = KnarrCluster(tmp_path / "k", datapath="userspace")
    cluster.data_dir.mkdir()
    try:
        cluster.up()
        cluster.kubectl("create", "serviceaccount", "robot")
        spec = {"serviceAccountName": "robot", "containers": [CONTAINER]}
        cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec})
        cluster.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
        folder = folder_of(cluster, cluster.get("pod", "web"))
        assert (folder / "namespace").read_text() == "default"
        api = client_in(folder, "127.0.0.1", cluster.ports["rest"])
        assert str(client.VersionApi(api.api_client).get_code().git_version).startswith("v1.")
        review: Any = client.AuthenticationV1Api(api.api_client).create_self_subject_review(client.V1SelfSubjectReview())
        assert review.status.user_info.username == NAME
        assert review.status.user_info.extra["authentication.kubernetes.io/pod-name"] == ["web"]
        assert refused(api.list_namespaced_pod, "default") == 403
        cluster.kubectl("create", "rolebinding", "robot", "--clusterrole=view", "--serviceaccount=default:robot")
        assert [pod.metadata.name for pod in api.list_namespaced_pod("default").items] == ["web"]
        assert refused(api.list_namespaced_secret, "default") == 403 == refused(api.list_namespaced_pod, "kube-system")
        token = (folder / "token").read_text()
        assert whoami(cluster, token) == whoami(cluster, cluster.kubectl("create", "token", "robot").stdout.strip()) == NAME
        cluster.kubectl("delete", "pod", "web", "--grace-period=0", "--force")
        with pytest.raises(subprocess.CalledProcessError) as error:
            whoami(cluster, token)
        assert "Unauthorized" in error.value.stderr or "logged in" in error.value.stderr
    finally:
        cluster.down()


def whoami(cluster: KnarrCluster, token: str) -> str:
    server = f"https://127.0.0.1:{cluster.ports['rest']}"
    ca = str(cluster.data_dir / "pki/ca.crt")
    options = ["--kubeconfig=/dev/null", f"--server={server}", f"--certificate-authority={ca}", f"--token={token}"]
    command = [str(BIN / "kubectl"), *options, "auth", "whoami", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return str(json.loads(done.stdout)["status"]["userInfo"]["username"])
