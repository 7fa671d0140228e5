"""The node's files of the container device interface: what they give a container."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.kubelet.devices.cdi import Edits, Unresolvable, edits_of, resolve
from services.kubelet.runtime.docker.bodies import container_body
from services.kubelet.runtime.plan import ContainerPlan, Device, Mount, PodRef
from tests.kubelet.docker_support import unique_settings


def write(folder: Path, name: str, devices: dict[str, Any], **whole: Any) -> None:
    folder.mkdir(exist_ok=True)
    listed = [{"name": device, "containerEdits": edits} for device, edits in devices.items()]
    (folder / name).write_text(json.dumps({"cdiVersion": "0.6.0", "kind": "example.com/card", "devices": listed, "containerEdits": whole}))


def test_what_a_file_says_of_all_its_devices_comes_once_and_before_what_it_says_of_one(tmp_path: Path) -> None:
    nodes = {name: {"env": [f"WHICH={name}", f"{name}=1"], "deviceNodes": [{"path": "/dev/null"}]} for name in ("a", "b")}
    write(tmp_path, "cards.json", nodes, env=["WHICH=none", "ALL=x=y"], additionalGids=[44])
    found = resolve(["example.com/card=a", "example.com/card=b"], [tmp_path])
    assert dict(found.env) == {"WHICH": "b", "ALL": "x=y", "a": "1", "b": "1"}
    assert found.devices == (Device("/dev/null", "/dev/null"),)
    assert found.groups == (44,)


def test_files_may_be_yaml_and_those_of_a_later_folder_go_first(tmp_path: Path) -> None:
    write(tmp_path / "etc", "cards.json", {"a": {"env": ["FROM=etc"]}})
    (tmp_path / "run").mkdir()
    said = "cdiVersion: 0.6.0\nkind: example.com/card\ndevices:\n- name: a\n  containerEdits:\n    env: [FROM=run]\n"
    (tmp_path / "run" / "cards.yaml").write_text(said)
    assert resolve(["example.com/card=a"], [tmp_path / "etc", tmp_path / "run"]) == Edits((("FROM", "run"),))


def test_a_device_that_two_files_of_a_folder_have_is_nobodys(tmp_path: Path) -> None:
    for name in ("one.json", "two.json"):
        write(tmp_path, name, {"a": {"env": ["A=1"]}})
    with pytest.raises(Unresolvable, match="unresolvable CDI devices"):
        resolve(["example.com/card=a"], [tmp_path])


@pytest.mark.parametrize("text", ["", "[]", "{", "kind: x\ndevices: 7\n", "a: &a [*a]\n", '{"devices": [{"name": "a"}]}', "\xff"])
def test_a_file_that_cannot_be_read_keeps_no_other_from_being(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_bytes(text.encode("latin-1"))
    write(tmp_path, "good.json", {"a": {"env": ["A=1"]}})
    assert resolve(["example.com/card=a"], [tmp_path / "none", tmp_path]).env == (("A", "1"),)


def test_a_path_that_is_not_there_is_an_error_and_not_made(tmp_path: Path) -> None:
    write(tmp_path, "cards.json", {"a": {"mounts": [{"hostPath": str(tmp_path / "lib"), "containerPath": "/lib"}]}})
    with pytest.raises(Unresolvable, match="is not there"):
        resolve(["example.com/card=a"], [tmp_path])


def test_device_nodes_and_mounts() -> None:
    found = edits_of(
        {
            "deviceNodes": [{"path": "/dev/card", "hostPath": "/dev/card0", "permissions": "rw"}],
            "mounts": [{"hostPath": "/usr/lib/x", "containerPath": "/lib/x", "options": ["ro", "nosuid", "rbind", "rslave"]}],
        }
    )
    assert found.devices == (Device("/dev/card0", "/dev/card", permissions="rw"),)
    assert found.mounts == (Mount("/usr/lib/x", "/lib/x", True, "rslave"),)


@pytest.mark.parametrize(
    "said",
    [
        {"hooks": [{"hookName": "createContainer", "path": "/bin/true"}]},
        {"mounts": [{"type": "tmpfs", "hostPath": "tmpfs", "containerPath": "/x"}]},
        {"deviceNodes": [{"hostPath": "/dev/null"}]},
        {"additionalGids": ["wheel"]},
        {"env": 7},
    ],
)
def test_what_cannot_be_given_is_refused_and_not_left_out(said: dict[str, Any]) -> None:
    with pytest.raises(Unresolvable):
        edits_of(said)


def test_docker_is_told_the_names_where_it_reads_the_files_itself() -> None:
    plan = ContainerPlan(PodRef("default", "web", "u"), "s", "app", 0, "app:1", "h", cdi_devices=("example.com/card=a",))
    host = container_body(plan, "sha256:1", unique_settings(), {})["HostConfig"]
    assert host["DeviceRequests"] == [{"Driver": "cdi", "DeviceIDs": ["example.com/card=a"]}]
