"""Every limit on a body: what exceeds it is refused in words that name the limit, at once."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import orjson
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import budget, codec
from knarr.machinery.codec import UnknownFields
from knarr.machinery.errors import MAX_CAUSES, BadRequest, Cause, Invalid, StatusError, invalid
from knarr.machinery.fieldsets.descriptors import shape_of
from knarr.machinery.forms import parse_duration
from knarr.machinery.patches import json_patch, strategic
from knarr.machinery.schema import descriptor_of
from knarr.machinery.selectors import MAX_REQUIREMENTS, parse_field_selector, parse_label_selector
from knarr.machinery.validation import Path
from knarr.machinery.yaml_text import yaml_documents
from services.apiserver.apply import configuration
from services.apiserver.pipeline import patching
from services.apiserver.rest import bodies
from services.apiserver.rest.response import MAX_WARNING_LETTERS, warning_headers
from services.apiserver.strategies.pod.defaults import default_pod
from services.apiserver.strategies.pod.validation import CONTAINER_LIMITS, LIMITS, validate_pod_spec

pytestmark = pytest.mark.hostile

QUICK_SECONDS = 1.0


def refusal(work: Any) -> StatusError:
    """The error of something that must be refused without effort."""
    started = time.thread_time()
    with pytest.raises(StatusError) as caught:
        work()
    assert time.thread_time() - started < QUICK_SECONDS
    return caught.value


def config_map(body: bytes, content_type: bytes = b"application/json", unknown: UnknownFields = UnknownFields.WARN) -> core.ConfigMap:
    return bodies.decode(core.ConfigMap, body, content_type, unknown).message


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_yaml_is_refused(opening: str) -> None:
    text = b"a: " + opening.encode() * 100_000
    assert refusal(lambda: config_map(text, b"application/yaml")).code == 400
    assert refusal(lambda: configuration.parse(text, ("v1", "Pod"), shape_of(descriptor_of(core.Pod)), "Warn")).code == 400


@pytest.mark.parametrize("depth", [budget.MAX_DEPTH, 500, 1_000_000])
def test_deep_json_is_refused(depth: int) -> None:
    text = b'{"data":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
    for unknown in UnknownFields:
        assert refusal(lambda: config_map(text, unknown=unknown)).code == 400  # noqa: B023
    for patch_type in ("merge", "strategic"):
        assert refusal(lambda: patching.parse(patch_type, text)).code == 400  # noqa: B023
    deep = b'[{"op":"add","path":"/data","value":' + b"[" * depth + b"]" * depth + b"}]"
    assert refusal(lambda: patching.parse("json", deep)).code == 400


def test_what_is_as_deep_as_the_limit_is_read() -> None:
    depth = budget.MAX_DEPTH - 1
    budget.check(orjson.loads(b"[" * depth + b"{}" + b"]" * depth), b"[" * depth)
    assert yaml_documents("a: " + "[" * depth + "]" * depth)


def test_aliases_are_paid_for() -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    for level in range(1, 40):
        bomb += f"a{level}: &a{level} [" + ",".join([f"*a{level - 1}"] * 10) + "]\n"
    assert "aliases may repeat" in refusal(lambda: yaml_documents(bomb)).status.message
    merged = "a0: &a0 {a: x, b: x}\n" + "".join(f"a{n}: &a{n} {{k{n}: [*a{n - 1}, *a{n - 1}], <<: *a{n - 1}}}\n" for n in range(1, 60))
    assert "aliases may repeat" in refusal(lambda: yaml_documents(merged)).status.message
    long = f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 100)}]\n"
    assert "aliases may repeat" in refusal(lambda: yaml_documents(long)).status.message
    assert yaml_documents("a: &a {b: 1}\nc: [*a, *a]\nd: {<<: *a, e: 2}\n") == [
        {"a": {"b": 1}, "c": [{"b": 1}, {"b": 1}], "d": {"b": 1, "e": 2}}
    ]


def test_an_alias_to_what_it_stands_in_is_refused() -> None:
    assert refusal(lambda: yaml_documents("a: &a [*a]")).code == 400
    assert refusal(lambda: yaml_documents("a: &a {<<: *a}")).code == 400


def test_numbers_that_are_too_long_for_a_number() -> None:
    started = time.thread_time()
    assert yaml_documents("a: " + "9" * 100_000) == [{"a": "9" * 100_000}]
    assert time.thread_time() - started < QUICK_SECONDS
    assert yaml_documents("a: 0x_\nb: 0b_\nc: 99999999999999999999\n") == [{"a": "0x_", "b": "0b_", "c": 1e20}]


YAML_TWICE = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata:\n  a: '1'\n  a: '2'\n"


def test_repeated_keys_of_yaml_are_told_by_their_lines() -> None:
    line = 'line 6: key "a" already set in map'
    refused = refusal(lambda: config_map(YAML_TWICE + b"nope: 1\n", b"application/yaml", UnknownFields.REJECT)).status.message
    assert refused.endswith(f'strict decoding error: yaml: unmarshal errors:\n  {line}, unknown field "nope"')
    warned = bodies.decode(core.ConfigMap, YAML_TWICE, b"application/yaml", UnknownFields.WARN)
    assert (warned.warnings, warned.message.data["a"]) == ([line], "2")
    assert not bodies.decode(core.ConfigMap, YAML_TWICE, b"application/yaml", UnknownFields.DROP).warnings


def test_a_body_of_too_many_values_is_refused() -> None:
    text = orjson.dumps({"data": {str(number): "" for number in range(budget.MAX_VALUES)}})
    error = refusal(lambda: config_map(text))
    assert (error.code, str(budget.MAX_VALUES) in error.status.message) == (413, True)
    assert refusal(lambda: patching.parse("merge", text)).code == 413
    assert len(config_map(orjson.dumps({"data": {"a": "," * 2 * budget.MAX_VALUES}})).data["a"]) == 2 * budget.MAX_VALUES


def test_copies_of_a_json_patch_have_a_limit() -> None:
    doubling = [{"op": "copy", "from": "/data", "path": f"/data/{number}"} for number in range(60)]
    error = refusal(lambda: json_patch.apply({"data": {"a": "x" * 100}}, doubling))
    assert (error.code, str(json_patch.MAX_COPIED_BYTES) in error.status.message) == (422, True)
    many = [{"op": "copy", "from": "/a", "path": f"/b{number}"} for number in range(1000)]
    assert refusal(lambda: json_patch.apply({"a": "x" * 100_000}, many)).code == 422
    assert json_patch.apply({"a": "x"}, many[:1]) == {"a": "x", "b0": "x"}


def test_a_json_patch_that_nests_by_moves_is_refused() -> None:
    moves = []
    for number in range(4000):
        inner, outer = ("/a", "/b") if number % 2 == 0 else ("/b", "/a")
        moves += [{"op": "add", "path": outer, "value": {}}, {"op": "move", "from": inner, "path": f"{outer}/x"}]
    assert refusal(lambda: json_patch.apply({"a": {}}, [*moves, {"op": "copy", "from": "", "path": "/c"}])).code == 422
    assert refusal(lambda: json_patch.apply({"a": [1]}, [{"op": "remove", "path": "/a/" + "9" * 5000}])).code == 422


def test_tests_of_a_json_patch_cost_what_they_say() -> None:
    document = {"data": {f"k{number}": "x" * 100 for number in range(20_000)}}
    assert refusal(lambda: json_patch.apply(document, [{"op": "test", "path": "", "value": {}}] * 10_000)).code == 422


def test_list_elements_that_are_no_objects_do_not_break_a_strategic_merge() -> None:
    merged = strategic.apply(core.Pod, {"metadata": {"finalizers": [["a"]]}}, {"metadata": {"finalizers": [["a"], ["b"]]}})
    assert merged == {"metadata": {"finalizers": [["a"], ["b"]]}}


@pytest.mark.parametrize("parse", [parse_label_selector, parse_field_selector])
def test_selectors_have_a_limit(parse: Any) -> None:
    text = ",".join(f"a{number}=b" for number in range(MAX_REQUIREMENTS + 1))
    assert str(MAX_REQUIREMENTS) in refusal(lambda: parse(text)).status.message
    assert len(parse(",".join(f"a{number}=b" for number in range(MAX_REQUIREMENTS))).requirements) == MAX_REQUIREMENTS


@pytest.mark.parametrize("amount", ["1" * 100_000, "1e" + "9" * 5000, "0." + "1" * 5000, "1" * 200 + "E"])
def test_long_quantities_are_refused_or_capped(amount: str) -> None:
    text = orjson.dumps({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": amount}}}]}})
    started = time.thread_time()
    with suppress(BadRequest):
        codec.from_json(core.Pod, text)
    assert time.thread_time() - started < QUICK_SECONDS


def test_long_durations_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration("1" * 1_000_000 + "x")


@pytest.mark.parametrize(
    ("given", "stored"), [("0.0001", "1m"), ("1500u", "2m"), ("1e-9", "1m"), ("0.5", "500m"), ("1", "1"), ("1Ki", "1Ki")]
)
def test_amounts_finer_than_a_thousandth_are_rounded_up(given: str, stored: str) -> None:
    text = orjson.dumps({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": given}, "limits": {"cpu": given}}}]}})
    pod = codec.from_json(core.Pod, text).message
    default_pod(pod)
    resources = pod.spec.containers[0].resources
    assert (resources.requests["cpu"].string, resources.limits["cpu"].string) == (stored, stored)


def test_the_lists_of_a_pod_have_limits() -> None:
    for field, limit in LIMITS.items():
        spec = core.PodSpec()
        for _ in range(limit + 1):
            getattr(spec, field).add()
        assert [cause.reason for cause in validate_pod_spec(spec, Path("spec"))] == ["FieldValueTooMany"], field
    for field, limit in CONTAINER_LIMITS.items():
        container = core.Container()
        for _ in range(limit + 1):
            getattr(container, field).append("x") if field in ("command", "args") else getattr(container, field).add()
        causes = validate_pod_spec(core.PodSpec(containers=[container]), Path("spec"))
        assert [cause.reason for cause in causes] == ["FieldValueTooMany"], field


def test_refusals_and_warnings_do_not_multiply() -> None:
    error = invalid("Pod", "p", [Cause("FieldValueInvalid", "wrong", f"spec[{number}]") for number in range(10_000)])
    assert isinstance(error, Invalid)
    assert len(error.status.details.causes) == MAX_CAUSES + 1
    assert "9900 more problems are not listed" in error.status.message
    headers = warning_headers(["x" * 300] * 10_000)
    assert sum(len(value) for _, value in headers) < 2 * MAX_WARNING_LETTERS
    unknown = orjson.dumps({"metadata": {"name": "m", **{"x" * 10_000 + str(number): 1 for number in range(200)}}})
    assert sum(map(len, bodies.decode(core.ConfigMap, unknown, b"", UnknownFields.WARN).warnings)) < 3 * 1024 * 1024
