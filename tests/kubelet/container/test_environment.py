"""A container's environment: what is there, what is optional, and what cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.container.env_files import MAX_FILE_BYTES, read_files, wanted_files
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


def keyed(key: str, *, optional: bool = False, volume: str = "v", path: str = "e.env") -> core.Container:
    found = core.EnvVar(name="V")
    selector = found.value_from.file_key_ref
    selector.volume_name, selector.path, selector.key, selector.optional = volume, path, key, optional
    return core.Container(env=[found])


def from_file(spec: core.Container, volume: Path) -> dict[str, str]:
    pod = make_pod()
    pod.spec.volumes.add(name="v").volume_source.empty_dir.SetInParent()
    pod.spec.volumes.add(name="h").volume_source.host_path.path = "/etc"
    sandbox, node = Sandbox("s", PodRef("default", "web", "uid"), 0, True), NodeView("n", "192.0.2.1", {})
    files = read_files(wanted_files(spec), {"v": volume, "h": Path("/etc")})
    directory = PodDirectory(volume, "uid")
    return environment(ContainerInputs(pod, spec, 0, sandbox, Image("i", "app:1"), References(), node, directory, env_files=files))


WRITTEN = "# made by init\n\n  A='1'\nB='two\nlines # no comment'  \nEMPTY=''\nA='other'\n"


@pytest.mark.parametrize(("key", "value"), [("A", "1"), ("B", "two\nlines # no comment"), ("EMPTY", "")])
def test_a_variable_comes_from_a_file_of_a_volume(key: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "e.env").write_text(WRITTEN)
    assert from_file(keyed(key), tmp_path) == {"V": value}


def test_a_file_or_key_that_is_not_there_is_no_variable_where_it_is_optional(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'file "e\.env" of volume "v" not found'):
        from_file(keyed("A"), tmp_path)
    assert from_file(keyed("A", optional=True), tmp_path) == {}
    (tmp_path / "e.env").write_text(WRITTEN)
    with pytest.raises(ConfigError, match=r'environment variable key "C" not found in file "e\.env" of volume "v"'):
        from_file(keyed("C"), tmp_path)
    assert from_file(keyed("C", optional=True), tmp_path) == {}


@pytest.mark.parametrize("text", ["A=1\n", 'A="1"\n', "A='1\n", "A ='1'\n", "A='1'B='2'\n", "export A='1'\n", "='1'\n", "A='1' x\n"])
def test_a_file_of_another_form_is_refused_even_where_the_key_is_optional(text: str, tmp_path: Path) -> None:
    (tmp_path / "e.env").write_text(f"X='0'\n{text}")
    with pytest.raises(ConfigError, match="line 2 is not of the form NAME='value'"):
        from_file(keyed("A", optional=True), tmp_path)


def test_what_lies_there_is_read_with_care(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "up").symlink_to("../x")
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "whole").write_text(WRITTEN)
    (tmp_path / "inside").symlink_to("whole")
    assert from_file(keyed("A", path="inside"), tmp_path) == {"V": "1"}
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").write_bytes(b"A='1'\n" + b"#" * MAX_FILE_BYTES)
    (tmp_path / "bytes").write_bytes(b"A='\xff'\n")
    for path, words in (
        ("link", "cross-device"),
        ("up", "cross-device"),
        ("round", "symbolic links"),
        ("pipe", "no file"),
        ("huge", "more than"),
        ("bytes", "not UTF-8"),
        (".", "no file"),
    ):
        with pytest.raises(ConfigError, match=words):
            from_file(keyed("A", path=path), tmp_path)
    with pytest.raises(ConfigError, match="is no emptyDir"):
        from_file(keyed("A", volume="h", path="passwd"), tmp_path)


def test_where_containers_see_no_files_nothing_is_missed(tmp_path: Path) -> None:
    assert variables(keyed("A"), tmp_path) == {}
