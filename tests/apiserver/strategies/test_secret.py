"""Rules about Secrets that scenario files would be too long for."""

from __future__ import annotations

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies import STRATEGIES


@pytest.mark.hostile
@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b"\xff{}", b"{} {}"])
def test_a_docker_config_that_is_nested_deeply_or_is_no_json_is_refused(text: bytes) -> None:
    secret = core.Secret(type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": text})
    (cause,) = STRATEGIES[core.Secret].validate(secret)
    assert cause.field == "data[.dockerconfigjson]"


def test_an_empty_docker_config_is_none() -> None:
    assert STRATEGIES[core.Secret].validate(core.Secret(type="kubernetes.io/dockercfg", data={".dockercfg": b"null"})) == []
