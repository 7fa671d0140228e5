"""What DELETE answers, and what PUT of a name that is not there does, of every kind; as the official Python client takes it.

The two lists are Kubernetes' own: which of its stores return what was deleted, and which of its strategies create on update.
"""

from __future__ import annotations

import gc
import re
import warnings
import zlib
from base64 import b64encode
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from kubernetes import client as models

from knarr.machinery.catalog import registry
from knarr.service.certificates import CertificateAuthority
from tests.apiserver.rest.live import TOKEN, LiveServer, running_server
from tests.support.signing import pod_key_request, signing_request

RETURNED = {
    "Pod", "Service", "ServiceAccount", "Namespace", "PodTemplate", "ResourceQuota", "PersistentVolume", "PersistentVolumeClaim",
    "StorageClass", "VolumeAttachment", "CSIDriver", "CSINode", "VolumeAttributesClass",
    "DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice", "Job", "ReplicationController",
}  # fmt: skip
# They are deleted once controllers, of which there are none here, see that nobody uses them, or have made orphans of their pods.
PROTECTED = {"PersistentVolume", "PersistentVolumeClaim", "Job", "ReplicationController"}
CREATED_BY_UPDATE = {
    "Service", "Endpoints", "Event", "Lease", "LimitRange", "RuntimeClass", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding",
}  # fmt: skip

CONTAINERS = [{"name": "c", "image": "busybox"}]
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": CONTAINERS}}
WORKLOAD = {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}}
JOB = {"spec": {"template": {"spec": {"containers": CONTAINERS, "restartPolicy": "Never"}}}}
CA = CertificateAuthority.create().pair.certificate
SIGNING_REQUEST = b64encode(signing_request("someone")).decode()
POD_KEY = b64encode(pod_key_request()).decode()
CLAIM = {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}}
ROLE_REF = {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}}
MATCH = {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}
# What a kind needs besides its name; by group and kind.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("", "Pod"): {"spec": {"containers": CONTAINERS}},
    ("", "Service"): {"spec": {"ports": [{"port": 80}]}},
    ("", "Event"): {"involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "R"},
    ("events.k8s.io", "Event"): {
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.com/c", "reportingInstance": "i", "action": "A",
        "reason": "R", "type": "Normal", "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
    },
    ("apps", "Deployment"): WORKLOAD,
    ("apps", "ReplicaSet"): WORKLOAD,
    ("apps", "ControllerRevision"): {"revision": 1, "data": {"a": "b"}},
    ("autoscaling", "HorizontalPodAutoscaler"): {
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}
    },
    ("discovery.k8s.io", "EndpointSlice"): {"addressType": "IPv4", "endpoints": []},
    ("networking.k8s.io", "NetworkPolicy"): {"spec": {"podSelector": {}}},
    ("", "ReplicationController"): {"spec": {"selector": {"a": "b"}, "template": TEMPLATE}},
    ("", "PodTemplate"): {"template": TEMPLATE},
    ("", "LimitRange"): {"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}},
    ("", "ResourceQuota"): {"spec": {"hard": {"pods": "3"}}},
    ("", "PersistentVolume"): {
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp/a"}}
    },
    ("", "PersistentVolumeClaim"): {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
    ("apps", "StatefulSet"): {"spec": {**WORKLOAD["spec"], "serviceName": "s"}},
    ("apps", "DaemonSet"): WORKLOAD,
    ("batch", "Job"): JOB,
    ("batch", "CronJob"): {"spec": {"schedule": "@hourly", "jobTemplate": JOB}},
    ("policy", "PodDisruptionBudget"): {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}},
    ("scheduling.k8s.io", "PriorityClass"): {"value": 1},
    ("node.k8s.io", "RuntimeClass"): {"handler": "runc"},
    ("networking.k8s.io", "Ingress"): {"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}},
    ("networking.k8s.io", "IngressClass"): {"spec": {"controller": "example.com/c"}},
    ("networking.k8s.io", "IPAddress"): {"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "s"}}},
    ("networking.k8s.io", "ServiceCIDR"): {"spec": {"cidrs": ["10.9.0.0/16"]}},
    ("storage.k8s.io", "StorageClass"): {"provisioner": "example.com/p"},
    ("storage.k8s.io", "VolumeAttachment"): {
        "spec": {"attacher": "example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}
    },
    ("storage.k8s.io", "CSIDriver"): {"spec": {}},
    ("storage.k8s.io", "CSINode"): {"spec": {"drivers": [{"name": "example.com", "nodeID": "n"}]}},
    ("storage.k8s.io", "CSIStorageCapacity"): {"storageClassName": "c"},
    ("storage.k8s.io", "VolumeAttributesClass"): {"driverName": "example.com", "parameters": {"a": "b"}},
    ("resource.k8s.io", "DeviceClass"): {"spec": {}},
    ("resource.k8s.io", "DeviceTaintRule"): {"spec": {"taint": {"key": "a", "effect": "NoSchedule"}}},
    ("resource.k8s.io", "ResourceClaim"): CLAIM,
    ("resource.k8s.io", "ResourceClaimTemplate"): {"spec": CLAIM},
    ("resource.k8s.io", "ResourceSlice"): {
        "spec": {"driver": "example.com", "nodeName": "n", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}, "devices": []}
    },
    ("storagemigration.k8s.io", "StorageVersionMigration"): {"spec": {"resource": {"group": "apps", "resource": "deployments"}}},
    ("rbac.authorization.k8s.io", "RoleBinding"): ROLE_REF,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): ROLE_REF,
    ("certificates.k8s.io", "CertificateSigningRequest"): {
        "spec": {"request": SIGNING_REQUEST, "signerName": "example.com/s", "usages": ["client auth"]}
    },
    ("certificates.k8s.io", "ClusterTrustBundle"): {"spec": {"trustBundle": CA.decode()}},
    ("certificates.k8s.io", "PodCertificateRequest"): {
        "spec": {
            "signerName": "example.com/s", "podName": "p", "podUID": "u", "serviceAccountName": "a", "serviceAccountUID": "u",
            "nodeName": "n", "nodeUID": "u", "stubPKCS10Request": POD_KEY,
        }
    },
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): {
        "spec": {"matchConstraints": MATCH, "validations": [{"expression": "true"}]}
    },
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): {"spec": {"policyName": "p", "validationActions": ["Deny"]}},
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): {
        "spec": {
            "matchConstraints": MATCH, "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}],
        }
    },
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"): {"spec": {"policyName": "p"}},
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): {"spec": {"priorityLevelConfiguration": {"name": "global-default"}}},
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): {
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}
    },
}  # fmt: skip
# A definition is named by what it says, and goes after its objects: tests/apiserver/definitions.
LATER_GONE = "customresourcedefinitions"
VERSIONS = [found for found in registry().versions if found.resource.stored and found.resource.plural != LATER_GONE]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(tmp_path_factory.mktemp("writes"), in_memory=True) as found:
        yield found


@pytest.fixture(scope="module")
def connection(server: LiveServer) -> Iterator[Any]:
    configuration = models.Configuration(host=server.url, api_key={"authorization": f"Bearer {TOKEN}"})
    configuration.ssl_ca_cert = str(server.ca)
    with models.ApiClient(configuration) as found:
        yield found
        found.rest_client.pool_manager.clear()
    # The client leaves its sockets to the garbage collector.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class Typed:
    """The typed client's methods for one version of a kind."""

    def __init__(self, connection: Any, version: Any) -> None:
        group = "".join(part.title() for part in version.group.removesuffix(".k8s.io").split(".")) or "Core"
        self._api = getattr(models, f"{group}{version.version.title()}Api")(connection)
        self._namespaced = version.resource.namespaced
        self._kind = re.sub(r"(?<!^)(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", version.kind).lower()

    def __call__(self, verb: str, *arguments: Any, **options: Any) -> tuple[Any, int]:
        """The answer as the client's model has it, and the HTTP status."""
        scope, where = ("namespaced_", ("default",)) if self._namespaced else ("", ())
        name, body = ((), arguments) if verb == "create" else (arguments[:1], arguments[1:])
        method = getattr(self._api, f"{verb}_{scope}{self._kind}_with_http_info")
        answer, status, _ = method(*name, *where, *body, **options)
        return answer, status


def field(answer: Any, *path: str) -> Any:
    """Of some kinds the client answers what JSON has."""
    for name in path:
        answer = answer[name] if isinstance(answer, dict) else getattr(answer, re.sub(r"(?=[A-Z])", "_", name).lower())
    return answer


def body_of(version: Any, name: str) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": "default"} if version.resource.namespaced else {})}
    if version.kind == "APIService":
        spec = {"group": "example.com", "version": name.partition(".")[0], "groupPriorityMinimum": 1, "versionPriority": 1}
        return {"apiVersion": version.api_version, "kind": version.kind, "metadata": metadata, "spec": spec}
    return {"apiVersion": version.api_version, "kind": version.kind, "metadata": metadata, **BODIES.get((version.group, version.kind), {})}


def name_of(version: Any, what: str) -> str:
    """An IPAddress is called as the address, an APIService by its version and group."""
    if version.kind == "APIService":
        return f"{what}.example.com"
    return str(IPv4Address(0x0A090000 + zlib.crc32(what.encode()) % 65536)) if version.kind == "IPAddress" else f"{what}-{version.version}"


every_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: f"{version.qualified}.{version.version}")


@every_version
def test_delete_answers_what_the_client_expects(connection: Any, version: Any) -> None:
    typed, name = Typed(connection, version), name_of(version, "deleted")
    created, _ = typed("create", body_of(version, name))
    answer, status = typed("delete", name)
    assert status == 200
    if version.kind not in RETURNED:
        found = field(answer, "status"), field(answer, "details", "name"), field(answer, "details", "uid")
        assert found == ("Success", name, created.metadata.uid)
        return
    assert field(answer, "metadata", "uid") == created.metadata.uid
    assert int(field(answer, "metadata", "resourceVersion")) > int(created.metadata.resource_version)
    if version.kind not in ("Namespace", "Job", "ReplicationController"):  # the client takes it for a Status, whatever it is
        assert type(answer) is type(created)
        assert (answer.metadata.deletion_timestamp is not None) is (version.kind == "Pod" or version.kind in PROTECTED)


@every_version
def test_delete_of_what_has_finalizers_answers_the_object(connection: Any, version: Any) -> None:
    typed, name = Typed(connection, version), name_of(version, "held")
    body = body_of(version, name)
    body["metadata"]["finalizers"] = ["example.com/hold"]
    typed("create", body)
    path = f"/api{'s/' + version.group if version.group else ''}/{version.version}"
    path += f"{'/namespaces/default' if version.resource.namespaced else ''}/{version.resource.plural}/{name}"
    for query, expected in (({}, 200), ({"orphanDependents": "false"}, 202)):
        response = connection.rest_client.pool_manager.request(
            "DELETE", connection.configuration.host + path, fields=query, headers={"Authorization": f"Bearer {TOKEN}"}
        )
        assert (response.status, response.json()["kind"], response.json()["metadata"]["name"]) == (expected, version.kind, name)
    typed("patch", name, {"metadata": {"finalizers": None}})


@every_version
def test_update_of_a_name_that_is_not_there(connection: Any, version: Any) -> None:
    typed, name = Typed(connection, version), name_of(version, "put")
    if version.kind not in CREATED_BY_UPDATE:
        with pytest.raises(models.ApiException) as caught:
            typed("replace", name, body_of(version, name))
        assert (caught.value.status, f'{version.qualified} \\"{name}\\" not found' in str(caught.value.body)) == (404, True)
        return
    answer, status = typed("replace", name, body_of(version, name))
    assert (status, answer.metadata.name, bool(answer.metadata.uid)) == (201, name, True)
    assert typed("replace", name, answer)[1] == 200
    typed("delete", name)
    with pytest.raises(models.ApiException) as caught:
        typed("replace", name, answer)
    assert caught.value.status == 409
