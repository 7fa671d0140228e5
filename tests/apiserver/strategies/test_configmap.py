"""How much a ConfigMap may hold."""

from __future__ import annotations

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies.configmap import ConfigMapStrategy

LIMIT = 1024 * 1024


@pytest.mark.parametrize(("text_bytes", "binary_bytes", "allowed"), [(LIMIT, 0, True), (LIMIT - 3, 3, True), (LIMIT, 1, False)])
def test_its_values_count_and_nothing_else_does(text_bytes: int, binary_bytes: int, allowed: bool) -> None:
    """The object is larger than that by its keys and metadata; letters count by their bytes."""
    text = "ö" + "x" * (text_bytes - 2)
    made = core.ConfigMap(data={"a" * 100: text}, binary_data={"b": bytes(binary_bytes)})
    made.metadata.annotations["note"] = "y" * 1000
    causes = ConfigMapStrategy().validate(made)
    # The path is Kubernetes' own for what is no field alone.
    told = [(cause.field, cause.message) for cause in causes]
    assert told == ([] if allowed else [("[]", f"Too long: may not be more than {LIMIT} bytes")])
