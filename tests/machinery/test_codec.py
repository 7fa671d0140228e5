"""Go's JSON rules, one by one, and the words for what is wrong."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec
from knarr.machinery.catalog import registry
from knarr.machinery.codec import UnknownFields
from knarr.machinery.errors import StatusError
from knarr.machinery.type_names import api_version_and_kind


def refused(kind: Any, body: bytes | dict[str, Any], unknown: UnknownFields = UnknownFields.DROP) -> str:
    with pytest.raises(StatusError) as caught:
        codec.from_json(kind, body, unknown)
    assert (caught.value.reason, caught.value.code) == ("BadRequest", 400)
    return str(caught.value)


def test_value_structs_and_zero_times_are_always_written() -> None:
    assert codec.to_dict(core.Pod()) == {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"creationTimestamp": None},
        "spec": {"containers": None},
        "status": {},
    }
    assert codec.to_dict(core.PodSpec(containers=[core.Container(name="c")]))["containers"] == [{"name": "c", "resources": {}}]


def test_every_call_returns_fresh_objects() -> None:
    codec.to_dict(core.Pod())["metadata"]["name"] = "x"
    assert codec.to_dict(core.Pod())["metadata"] == {"creationTimestamp": None}


def test_pointers_keep_zero_apart_from_absent() -> None:
    assert "replicas" not in codec.to_dict(apps.DeploymentSpec())
    decoded = codec.from_json(apps.DeploymentSpec, {"replicas": 0}).message
    assert decoded.HasField("replicas")
    assert codec.to_dict(decoded)["replicas"] == 0


def test_null_is_absent_and_inside_maps_and_lists_zero() -> None:
    meta_object = codec.from_json(meta.ObjectMeta, {"name": None, "labels": {"a": None}, "finalizers": [None]}).message
    assert meta_object == meta.ObjectMeta(labels={"a": ""}, finalizers=[""])


@pytest.mark.parametrize(
    ("given", "written"), [("0.5", "500m"), (2, "2"), (0.25, "250m"), ("1024Mi", "1Gi"), (None, "0"), (" 1000 ", "1k")], ids=str
)
def test_quantities_become_canonical(given: Any, written: str) -> None:
    decoded = codec.from_json(core.ResourceRequirements, {"limits": {"cpu": given}}).message
    assert codec.to_dict(decoded) == {"limits": {"cpu": written}}


def test_times_are_utc_and_whole_seconds() -> None:
    decoded = codec.from_json(meta.ObjectMeta, {"creationTimestamp": "2026-01-02T03:04:05.75+02:00"}).message
    assert codec.to_dict(decoded) == {"creationTimestamp": "2026-01-02T01:04:05Z"}
    zero = codec.from_json(meta.ObjectMeta, {"creationTimestamp": "0001-01-01T00:00:00Z"}).message
    assert codec.to_dict(zero) == {"creationTimestamp": None}


def test_an_unset_int_or_string_is_the_number_zero() -> None:
    assert codec.to_dict(core.ServicePort(port=80)) == {"port": 80, "targetPort": 0}


def test_bytes_are_base64_and_int64_plain_numbers() -> None:
    secret = codec.from_json(core.Secret, {"data": {"a": "aGk="}, "metadata": {"generation": 2**62}}).message
    assert (secret.data["a"], secret.metadata.generation) == (b"hi", 2**62)
    assert codec.to_dict(secret)["data"] == {"a": "aGk="}
    assert codec.to_dict(secret)["metadata"]["generation"] == 2**62


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"spec": {"replicas": "3"}}, "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"),
        ({"spec": {"replicas": 3.5}}, "json: cannot unmarshal number 3.5 into Go struct field DeploymentSpec.spec.replicas of type int32"),
        (
            {"spec": {"replicas": 2**31}},
            "cannot unmarshal number 2147483648 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        ({"spec": {"replicas": True}}, "json: cannot unmarshal bool into Go struct field DeploymentSpec.spec.replicas of type int32"),
        ({"spec": {"paused": 1}}, "json: cannot unmarshal number into Go struct field DeploymentSpec.spec.paused of type bool"),
        ({"spec": []}, "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec"),
        (
            {"metadata": {"labels": "a"}},
            "cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type map[string]string",
        ),
        ({"metadata": {"labels": {"a": 1}}}, "cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"),
        ({"metadata": {"finalizers": "a"}}, "cannot unmarshal string into Go struct field ObjectMeta.metadata.finalizers of type []string"),
        (
            {"spec": {"template": {"spec": {"containers": [{"ports": [{"containerPort": "x"}]}]}}}},
            "Go struct field ContainerPort.spec.template.spec.containers.ports.containerPort of type int32",
        ),
        ({"spec": {"template": {"spec": {"containers": {}}}}}, "spec.template.spec.containers of type []v1.Container"),
        (
            {"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "x"}}}]}}}},
            "spec.template.spec.containers[0].resources.limits[cpu]: quantities must match the regular expression",
        ),
        ({"metadata": {"creationTimestamp": "now"}}, 'metadata.creationTimestamp: parsing time "now" as "2006-01-02T15:04:05Z07:00"'),
        ({"metadata": {"creationTimestamp": {}}}, "metadata.creationTimestamp: json: cannot unmarshal object into Go value of type string"),
        ({"metadata": {"uid": 5}}, "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.uid of type types.UID"),
        ({"kind": 5}, "json: cannot unmarshal number into Go struct field Deployment.kind of type string"),
    ],
    ids=str,
)
def test_wrong_types_are_named_with_their_path(body: dict[str, Any], problem: str) -> None:
    message = refused(apps.Deployment, orjson.dumps(body))
    assert message.startswith('Deployment in version "v1" cannot be handled as a Deployment: ')
    assert problem in message


def test_bad_base64_is_refused() -> None:
    assert "data[a]: illegal base64 data" in refused(core.Secret, b'{"data":{"a":"%%"}}')


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "unexpected end of JSON input (<empty>)"),
        (b'{"a":', '({"a":)'),
        (b"[1]", "json: cannot unmarshal array into Go value"),
        (b'{"a": ' + b"x" * 100, '({"a": xxxxxxxxxxxxxxxxxxxxxxxx ...)'),
        (b'{"a": "\xff"}', "json parse error"),
    ],
    ids=str,
)
def test_broken_json_is_refused(body: bytes, reason: str) -> None:
    message = refused(core.Pod, body)
    assert message.startswith("the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: ")
    assert reason in message


STRAYS = (
    b'{"metadata":{"name":"a","Name":"b"},"spec":{"foo":1,"containers":[{"name":"c","image":"i","nope":1,"image":"j"}],"hostNetwork":true,'
    b'"hostNetwork":false},"extra":{}}'
)
FOUND = [
    'unknown field "metadata.Name"',
    'unknown field "spec.foo"',
    'duplicate field "spec.containers[0].image"',
    'unknown field "spec.containers[0].nope"',
    'duplicate field "spec.hostNetwork"',
    'unknown field "extra"',
]


def test_unknown_and_duplicate_fields() -> None:
    expected = 'Pod in version "v1" cannot be handled as a Pod: strict decoding error: ' + ", ".join(FOUND)
    assert refused(core.Pod, STRAYS, UnknownFields.REJECT) == expected
    assert codec.from_json(core.Pod, STRAYS, UnknownFields.WARN).warnings == FOUND
    dropped = codec.from_json(core.Pod, STRAYS, UnknownFields.DROP)
    assert (dropped.warnings, dropped.message.spec.containers[0].image) == ([], "j")


def test_duplicate_label_is_found_even_behind_escapes() -> None:
    body = b'{"metadata":{"labels":{"a":"\\u0022","a":"\\u0022"}}}'
    assert codec.from_json(core.Pod, body, UnknownFields.WARN).warnings == ['duplicate field "metadata.labels.a"']


def test_inlined_messages_lie_flat() -> None:
    body = {"name": "v", "configMap": {"name": "m", "optional": True}}
    volume = codec.from_json(core.Volume, body, UnknownFields.REJECT).message
    assert volume.volume_source.config_map.local_object_reference.name == "m"
    assert codec.to_dict(volume) == body


def test_registered_kinds_have_the_names_of_the_registry() -> None:
    for version in registry().versions:
        assert api_version_and_kind(version.message.DESCRIPTOR) == (version.api_version, version.kind)
        if version.list_message is not None:
            assert api_version_and_kind(version.list_message.DESCRIPTOR) == (version.api_version, f"{version.kind}List")
    assert codec.to_dict(meta.Status(status="Failure", code=404)) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "code": 404,
    }


def test_raw_json_that_is_none_does_not_spoil_the_object() -> None:
    revision = apps.ControllerRevision(revision=3)
    revision.data.raw = b"\x00not json"
    assert codec.to_dict(revision)["data"] is None


def test_bottomless_json_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(900):
        schema = {"not": schema}
    assert "exceeded max depth" in refused(apiextensions.CustomResourceValidation, {"openAPIV3Schema": schema})
