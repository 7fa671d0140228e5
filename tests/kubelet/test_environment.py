"""A container's environment: what is there, what is optional, and what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.container.environment import environment
from services.kubelet.container.inputs import ConfigError, ContainerInputs
from services.kubelet.node.view import NodeView
from services.kubelet.pod.directory import PodDirectory
from services.kubelet.pod.references import References
from services.kubelet.runtime.plan import PodRef
from services.kubelet.runtime.port import Image, Sandbox
from tests.kubelet.support import make_pod

FOUND = References(config_maps={"c": core.ConfigMap(data={"a": "1", "0x": "2"})}, secrets={"s": core.Secret(data={"b": b"\xff\x00"})})


def variables(spec: core.Container, tmp_path: Path) -> dict[str, str]:
    pod = make_pod()
    sandbox = Sandbox("s", PodRef("default", "web", "uid"), 0, True)
    node = NodeView("n", "192.0.2.1", {})
    return environment(ContainerInputs(pod, spec, 0, sandbox, Image("i", "app:1"), FOUND, node, PodDirectory(tmp_path, "uid")))


def reference(kind: str, name: str, key: str, *, optional: bool) -> core.EnvVar:
    found = core.EnvVar(name="V")
    selector = getattr(found.value_from, kind)
    selector.local_object_reference.name, selector.key, selector.optional = name, key, optional
    return found


@pytest.mark.parametrize("kind", ["config_map_key_ref", "secret_key_ref"])
@pytest.mark.parametrize("name", ["c", "s", "none"])
def test_what_is_optional_and_not_there_is_no_variable(kind: str, name: str, tmp_path: Path) -> None:
    spec = core.Container(env=[reference(kind, name, "none", optional=True), core.EnvVar(name="W", value="$(V)")])
    assert variables(spec, tmp_path) == {"W": "$(V)"}
    with pytest.raises(ConfigError):
        variables(core.Container(env=[reference(kind, name, "none", optional=False)]), tmp_path)


def test_what_is_optional_hides_nothing_that_came_before(tmp_path: Path) -> None:
    spec = core.Container(env=[core.EnvVar(name="V", value="before"), reference("config_map_key_ref", "c", "none", optional=True)])
    assert variables(spec, tmp_path) == {"V": "before"}


def test_every_key_is_a_variable(tmp_path: Path) -> None:
    spec = core.Container()
    spec.env_from.add(prefix="").config_map_ref.local_object_reference.name = "c"
    assert variables(spec, tmp_path) == {"a": "1", "0x": "2"}


def test_bytes_that_are_no_text_are_not_garbled(tmp_path: Path) -> None:
    whole = core.Container()
    whole.env_from.add(prefix="").secret_ref.local_object_reference.name = "s"
    for spec in (whole, core.Container(env=[reference("secret_key_ref", "s", "b", optional=True)])):
        with pytest.raises(ConfigError, match="is not UTF-8"):
            variables(spec, tmp_path)
