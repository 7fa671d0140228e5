"""Whatever a caller sends, every decoder answers with what it read or with a Status of 4xx: never with another error, never late.

What once broke one lies in ``corpus``, a file each, and is tried on every decoder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec, quantity
from knarr.machinery.codec import UnknownFields
from knarr.machinery.envelope import wrap
from knarr.machinery.errors import StatusError
from knarr.machinery.fieldsets.descriptors import shape_of
from knarr.machinery.fieldsets.managers import Owned
from knarr.machinery.forms import parse_duration
from knarr.machinery.resources import message_form
from knarr.machinery.schema import descriptor_of
from knarr.machinery.selectors import parse_field_selector, parse_label_selector
from knarr.service.streams import channels
from services.apiserver.apply import configuration
from services.apiserver.pipeline import patching
from services.apiserver.pipeline.read import Continue
from services.apiserver.rest import bodies, negotiation
from services.apiserver.rest.discovery import aggregated_form
from services.apiserver.rest.query import Query, create_options, delete_options, list_options, patch_options
from services.apiserver.servicer import unpack

pytestmark = pytest.mark.hostile

CORPUS = Path(__file__).parent / "corpus"
SECONDS = 2.0
POD = core.Pod(spec=core.PodSpec(containers=[core.Container(name="c", image="x", command=["a", "b"])]))
POD.metadata.name, POD.metadata.labels["a"] = "p", "b"


def patched(patch_type: str) -> Callable[[bytes], object]:
    return lambda data: patching.apply(patching.parse(patch_type, data), POD, message_form(core.Pod), "Strict", [])


def body(kind: type[Message], content_type: bytes, unknown: UnknownFields) -> Callable[[bytes], object]:
    return lambda data: bodies.decode(kind, data, content_type, unknown)


def text(function: Callable[[str], object]) -> Callable[[bytes], object]:
    """A decoder of text; ValueError is how the ones of single values refuse."""

    def decode(data: bytes) -> None:
        try:
            function(data.decode("latin-1"))
        except ValueError as error:
            if type(error) is not ValueError:
                raise

    return decode


def options(data: bytes) -> None:
    query = Query(data)
    for read in (
        list_options,
        create_options,
        patch_options,
        lambda query: delete_options(query, None),
        lambda query: query.seconds("timeout"),
    ):
        try:
            read(query)
        except StatusError as error:
            assert 400 <= error.code < 500


DECODERS: dict[str, Callable[[bytes], object]] = {
    **{
        f"{name} {kind.__name__} {unknown.value}": body(kind, content_type, unknown)
        for name, content_type in (("json", b"application/json"), ("yaml", b"application/yaml"))
        for kind in (core.Pod, core.ConfigMap, meta.DeleteOptions)
        for unknown in (UnknownFields.WARN, UnknownFields.REJECT)
    },
    "protobuf": lambda data: bodies.decode(core.Pod, data, negotiation.PROTOBUF.encode(), UnknownFields.WARN),
    "protobuf in its envelope": lambda data: bodies.decode(
        core.Pod, wrap("v1", "Pod", data), negotiation.PROTOBUF.encode(), UnknownFields.WARN
    ),
    "rpc": lambda data: unpack(core.Pod, _any(data)),
    "rpc, deep": lambda data: unpack(apps.Deployment, _any(data)),
    "apply": lambda data: configuration.parse(data, ("v1", "Pod"), shape_of(descriptor_of(core.Pod)), "Strict"),
    "what managers own": lambda data: Owned("v1", None, raw=data).fields,
    "json patch": patched("json"),
    "merge patch": patched("merge"),
    "strategic merge patch": patched("strategic"),
    "labels": text(parse_label_selector),
    "fields": text(parse_field_selector),
    "quantity": text(quantity.canonical),
    "duration": text(parse_duration),
    "continue": text(Continue.decode),
    "accept": negotiation.wanted,
    "accept of discovery": text(aggregated_form),
    "content type": negotiation.body_type,
    "patch type": negotiation.patch_type,
    "query": options,
    "channels": lambda data: channels.decode(data, channels.V5),
}


def _any(data: bytes) -> Any:
    return AnyMessage(value=data)


def refuse_or_read(decode: Callable[[bytes], object], data: bytes) -> None:
    started = time.thread_time()
    try:
        decode(data)
    except StatusError as error:
        assert 400 <= error.code < 500, error
    assert time.thread_time() - started < SECONDS


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_the_corpus(path: Path) -> None:
    data = path.read_bytes()
    for decode in DECODERS.values():
        refuse_or_read(decode, data)


NAMES = st.sampled_from(
    [
        "metadata", "spec", "status", "containers", "name", "labels", "annotations", "finalizers", "env", "resources", "limits", "cpu",
        "data", "ports", "containerPort", "volumes", "creationTimestamp", "apiVersion", "kind", "ownerReferences", "$patch", "$retainKeys",
        "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers", "op", "path", "from", "value", "managedFields", "fieldsV1",
    ]
) | st.text(max_size=3)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
OPERATION = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", ""])},
    optional={
        key: st.lists(st.sampled_from(["spec", "containers", "0", "-", "metadata", "labels", "a", "", "~1", "99"]), max_size=4).map(
            lambda steps: "".join(f"/{step}" for step in steps)
        )
        for key in ("path", "from")
    }
    | {"value": JSON},
)
TEXTS = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40).map(lambda value: value.encode()),
    st.text(alphabet="a1=!,()<>in \\&*:[]{}-'\"~#%|?.\n\t+eE", max_size=40).map(lambda value: value.encode()),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.lists(OPERATION, max_size=6).map(lambda value: json.dumps(value).encode()),
    st.dictionaries(NAMES, st.dictionaries(NAMES, JSON, max_size=4), max_size=4).map(lambda value: json.dumps(value).encode()),
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(["limit", "continue", "timeout", "timeoutSeconds", "dryRun", "watch", "fieldValidation", "resourceVersion", "%ff"]),
        st.text(max_size=8),
    ),
    max_size=5,
).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).encode("utf-8", "replace"))


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=TEXTS | QUERIES)
def test_anything(name: str, data: bytes) -> None:
    refuse_or_read(DECODERS[name], data)


MUTATIONS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(changes=MUTATIONS, cut=st.integers(0, 200))
def test_protobuf_that_was_damaged(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(POD.SerializeToString())
    for place, value in changes:
        data[place % len(data)] = value
    for name in ("protobuf in its envelope", "rpc"):
        refuse_or_read(DECODERS[name], bytes(data[: max(1, len(data) - cut % 20)]))


def test_what_is_read_can_be_written() -> None:
    pod = codec.from_json(core.Pod, orjson.dumps({"metadata": {"name": "a\u0000b", "managedFields": [{"fieldsV1": {"f:a": {}}}]}})).message
    assert codec.from_json(core.Pod, codec.to_json(pod)).message == pod
