"""What is looked at before a cluster starts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.proxy.datapath.node_network import ROUTE_PROTOCOL
from services.standalone.preflight import OWN_PROTOCOL, disk_problems, problems, route_problems, size_problems
from services.standalone.settings import ClusterSettings, Ports

FREE_PORTS = Ports(**{field.name: 0 for field in dataclasses.fields(Ports)})


@pytest.mark.parametrize(
    ("route", "refused"),
    [
        ({"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"}, ""),
        ({"dst": "10.0.0.0/8", "dev": "vpn0", "protocol": "static"}, ""),
        ({"dst": "10.244.3.0/24", "dev": "eth1", "protocol": "kernel"}, ""),
        ({"dst": "10.244.0.0/24", "dev": "kn-ours", "protocol": "kernel"}, ""),
        ({"dst": "10.96.0.1", "dev": "lo", "protocol": "75"}, ""),
        ({"type": "unreachable", "dst": "10.96.0.0/16", "protocol": "75"}, ""),
        ({"dst": "10.244.0.0/24", "dev": "kn-other", "protocol": "kernel"}, "--pod-cidr 10.244.0.0/24 is in use"),
        ({"dst": "10.96.7.0/24", "dev": "eth1", "protocol": "kernel"}, "--service-cidr 10.96.0.0/16 is in use"),
    ],
)
def test_ranges_that_the_machine_uses(route: dict[str, str], refused: str, tmp_path: Path) -> None:
    found = list(route_problems(ClusterSettings(data_dir=tmp_path), [route], "kn-ours"))
    assert len(found) == bool(refused)
    assert all(refused in problem for problem in found)


@pytest.mark.parametrize(
    ("runtime", "refused"), [("docker", ["--node-cpu 4096 is more than", "--node-memory 1Pi is more than"]), ("hollow", [])]
)
def test_nodes_that_run_containers_are_no_larger_than_the_machine(tmp_path: Path, runtime: str, refused: list[str]) -> None:
    told = list(size_problems(ClusterSettings(tmp_path, runtime=runtime, node_cpu="4096", node_memory="1Pi")))
    assert [words in line for words, line in zip(refused, told, strict=True)] == [True] * len(refused)
    assert not list(size_problems(ClusterSettings(tmp_path, node_cpu="10m", node_memory="256Mi")))


@pytest.mark.parametrize(("store", "told"), [("etcd", ["too long for a socket", "and a new cluster needs 64"]), ("memory", [])])
def test_only_etcd_needs_a_short_path_and_room_on_the_disk(
    store: str, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 108)
    folder.mkdir()
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=8 << 20))
    found = list(disk_problems(ClusterSettings(folder, store=store)))
    assert [words in line for words, line in zip(told, found, strict=True)] == [True] * len(told)


def test_the_mark_of_our_own_routes_is_the_proxys() -> None:
    assert str(ROUTE_PROTOCOL) == OWN_PROTOCOL


@pytest.mark.parametrize(("datapath", "refused"), [("nftables", True), ("userspace", False)])
def test_without_root_a_hollow_cluster_needs_the_userspace_datapath(
    datapath: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    settings = ClusterSettings(data_dir=tmp_path, runtime="hollow", datapath=datapath, ports=FREE_PORTS)
    assert any("run with sudo, or use --datapath userspace" in problem for problem in problems(settings)) is refused


@pytest.mark.parametrize("junk", [b"", b"\xaa\xbb\xcc\xdd", b"../../x", b"0123456"])
def test_an_identity_that_is_none_is_none(junk: bytes, tmp_path: Path) -> None:
    settings = ClusterSettings(data_dir=tmp_path, runtime="hollow", datapath="userspace", ports=FREE_PORTS)
    settings.files.identity.write_bytes(junk)
    assert settings.files.known_id() == ""
    assert not [problem for problem in problems(settings) if "in use" not in problem]
    assert settings.files.cluster_id() == settings.files.known_id() != ""


FILES = ["authentication_config", "authentication_token_webhook_config_file", "authorization_config", "scheduler_config"]


@pytest.mark.parametrize("option", FILES)
def test_a_file_that_is_no_good_is_named_before_anything_starts(option: str, tmp_path: Path) -> None:
    settings = ClusterSettings(data_dir=tmp_path / "data", runtime="hollow", datapath="userspace", ports=FREE_PORTS, node_name="n")
    file = tmp_path / "file.yaml"
    for content in (None, b"kind: Banana\n"):
        if content is not None:
            file.write_bytes(content)
        chosen: dict[str, Any] = {option: str(file)}
        found = [problem for problem in problems(dataclasses.replace(settings, **chosen)) if problem.startswith(("--auth", "--sched"))]
        assert len(found) == 1 and found[0].startswith(f"--{option.replace('_', '-')}: ") and str(file) in found[0]


def test_a_good_file_about_who_may_what_is_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    document = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration"}
    file.write_text(json.dumps({**document, "authorizers": [{"type": "Node", "name": "node"}, {"type": "RBAC", "name": "rbac"}]}))
    settings = ClusterSettings(data_dir=tmp_path / "data", runtime="hollow", datapath="userspace", authorization_config=str(file))
    assert not [problem for problem in problems(settings) if problem.startswith("--auth")]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"enable_admission_plugins": "Banana"}, "--enable-admission-plugins: there is no admission plugin Banana; there are "),
        (
            {"disable_admission_plugins": "NodeRestriction,Banana"},
            "--disable-admission-plugins: there is no admission plugin Banana",
        ),
        (
            {"enable_admission_plugins": "LimitRanger", "disable_admission_plugins": "LimitRanger"},
            "LimitRanger: in --enable-admission-plugins and in --disable-admission-plugins",
        ),
        ({"authorization_mode": "Node,ABAC"}, "--authorization-mode: there is no 'ABAC'; there are "),
        ({"authorization_mode": "Node,Webhook"}, "--authorization-mode: there is no 'Webhook'; give it by --authorization-config"),
        ({"authorization_mode": "Node,Node"}, "--authorization-mode: 'Node,Node' must name one at least, and each once"),
        ({"authorization_mode": "RBAC"}, "--authorization-mode: without Node this node's kubelet may do nothing"),
        ({"authorization_mode": "AlwaysAllow"}, ""),
        ({"authorization_mode": "Node,RBAC", "enable_admission_plugins": "OwnerReferencesPermissionEnforcement"}, ""),
    ],
)
def test_parts_of_the_api_server_that_are_none_are_named(options: dict[str, Any], told: str, tmp_path: Path) -> None:
    settings = ClusterSettings(
        data_dir=tmp_path / "data", runtime="hollow", datapath="userspace", ports=FREE_PORTS, node_name="n", **options
    )
    found = [problem for problem in problems(settings) if "admission" in problem or "--auth" in problem]
    assert [problem[: len(told)] for problem in found] == ([told] if told else [])


def test_who_decides_is_said_once(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    document = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration"}
    file.write_text(json.dumps({**document, "authorizers": [{"type": "RBAC", "name": "rbac"}]}))
    settings = ClusterSettings(
        data_dir=tmp_path / "data", runtime="hollow", datapath="userspace", authorization_config=str(file), authorization_mode="Node"
    )
    assert [problem for problem in problems(settings) if problem.startswith("--authorization-mode: --authorization-config says")]
