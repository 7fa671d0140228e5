"""Accept and Content-Type headers as Kubernetes' clients send them."""

from __future__ import annotations

import pytest

from knarr.machinery.errors import StatusError
from services.apiserver.rest import negotiation
from services.apiserver.rest.negotiation import JSON, PROTOBUF, YAML, Wanted

KUBECTL_GET = b"application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (b"", Wanted(JSON)),
        (b"*/*", Wanted(JSON)),
        (b"application/*", Wanted(JSON)),
        (b"application/json", Wanted(JSON)),
        (b"application/json; charset=utf-8", Wanted(JSON)),
        (b"application/yaml", Wanted(YAML)),
        (b"application/vnd.kubernetes.protobuf,application/json", Wanted(PROTOBUF)),
        (b"application/vnd.kubernetes.protobuf;q=0.5,application/json", Wanted(JSON)),
        (b"text/html,application/json;q=0.1", Wanted(JSON)),
        (KUBECTL_GET, Wanted(JSON, "Table", "v1")),
        (b"application/json;as=Table;v=v1beta1;g=meta.k8s.io", Wanted(JSON, "Table", "v1beta1")),
        (b"application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Wanted(JSON)),
        (b"application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json", Wanted(JSON)),
        (b"application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", Wanted(JSON, "PartialObjectMetadata")),
        (
            b"application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            Wanted(PROTOBUF, "PartialObjectMetadataList"),
        ),
    ],
)
def test_accept(accept: bytes, expected: Wanted) -> None:
    assert negotiation.wanted(accept) == expected


@pytest.mark.parametrize("accept", [b"text/html", b"application/json;q=0", b"application/json;as=Nope;v=v1;g=meta.k8s.io"])
def test_not_acceptable(accept: bytes) -> None:
    with pytest.raises(StatusError) as caught:
        negotiation.wanted(accept)
    assert (caught.value.code, caught.value.reason) == (406, "NotAcceptable")
    assert str(caught.value) == (
        "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
    )


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (b"", JSON),
        (b"application/json", JSON),
        (b"Application/JSON; charset=utf-8", JSON),
        (b"application/yaml", YAML),
        (PROTOBUF.encode(), PROTOBUF),
    ],
)
def test_body_types(content_type: bytes, expected: str) -> None:
    assert negotiation.body_type(content_type) == expected


def test_unsupported_body_type() -> None:
    with pytest.raises(StatusError) as caught:
        negotiation.body_type(b"text/plain")
    assert (caught.value.code, caught.value.reason) == (415, "UnsupportedMediaType")
    assert str(caught.value).startswith(
        "the body of the request was in an unknown format - accepted media types include: application/json,"
    )


def test_patch_types() -> None:
    assert negotiation.patch_type(b"application/strategic-merge-patch+json") == "strategic"
    assert negotiation.patch_type(b"application/merge-patch+json; charset=utf-8") == "merge"
    with pytest.raises(StatusError) as caught:
        negotiation.patch_type(b"application/json")
    assert (caught.value.code, str(caught.value)) == (415, "415: Unsupported Media Type")
