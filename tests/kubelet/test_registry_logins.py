"""Who the node is to a registry."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.node.registry_logins import from_node, from_secrets, login, node_config

ALICE = base64.b64encode(b"alice:secret:with:colons").decode()
IS_ALICE = {"username": "alice", "password": "secret:with:colons"}


def secrets(**configs: Any) -> dict[str, core.Secret]:
    return {name: core.Secret(data={".dockerconfigjson": json.dumps(config).encode()}) for name, config in configs.items()}


@pytest.mark.parametrize(
    ("image", "server", "entry", "found"),
    [
        ("registry.example/app:1", "registry.example", {"auth": ALICE}, IS_ALICE),
        ("registry.example/app:1", "https://registry.example/v2/", {"auth": ALICE}, IS_ALICE),
        ("registry.example:5000/app", "registry.example:5000", {"username": "bob", "password": "x"}, {"username": "bob", "password": "x"}),
        ("registry.example/app", "registry.example", {"identitytoken": "t"}, {"identitytoken": "t"}),
        ("busybox", "https://index.docker.io/v1/", {"auth": ALICE}, IS_ALICE),
        ("registry.example/app", "other.example", {"auth": ALICE}, None),
        ("registry.example/app", "registry.example", {"auth": "no base64!"}, None),
        ("registry.example/app", "registry.example", {}, None),
        ("registry.example/app", "registry.example", "no object", None),
    ],
)
def test_a_pods_secret_knows_its_registry(image: str, server: str, entry: Any, found: dict[str, str] | None) -> None:
    assert from_secrets(image, secrets(s={"auths": {server: entry}}), ["s"]) == found


def test_the_first_secret_that_knows_the_registry_is_taken() -> None:
    known = secrets(
        broken={"auths": 3}, other={"auths": {"other.example": {"auth": ALICE}}}, right={"auths": {"r.example": {"auth": ALICE}}}
    )
    assert from_secrets("r.example/app", known, ["missing", "broken", "other", "right"]) == IS_ALICE


@pytest.mark.hostile
@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"auths":' * 900 + b"1" + b"}" * 900, b"\xff", b"null"])
def test_what_is_nested_deeply_or_is_no_json_is_no_login(text: bytes) -> None:
    assert from_secrets("r.example/app", {"s": core.Secret(data={".dockerconfigjson": text})}, ["s"]) is None


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """A credential helper ``docker-credential-test`` that knows one registry; answers what it has been asked."""
    program = tmp_path / "bin/docker-credential-test"
    program.parent.mkdir()
    asked = tmp_path / "asked"
    answer = json.dumps({"Username": "carol", "Secret": "s3", "ServerURL": "r.example"})
    program.write_text(
        f"#!/bin/sh\nread -r server\necho $server >>{asked}\n"
        f"if [ $server = r.example ]; then echo '{answer}'; else echo 'credentials not found in native keychain'; exit 1; fi\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return lambda: asked.read_text() if asked.exists() else ""


def written(folder: Path, **config: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


async def test_a_helper_of_the_node_is_asked(helper: Callable[[], str], tmp_path: Path) -> None:
    config = written(tmp_path, credHelpers={"r.example": "test"}, auths={"other.example": {"auth": ALICE}})
    assert await from_node("r.example/app:1", config) == {"username": "carol", "password": "s3"}
    assert await from_node("other.example/app:1", config) == IS_ALICE
    assert helper() == "r.example\n"


async def test_a_store_that_does_not_know_the_registry_leaves_the_rest(helper: Callable[[], str], tmp_path: Path) -> None:
    config = written(tmp_path, credsStore="test", auths={"https://index.docker.io/v1/": {"auth": ALICE}})
    assert await from_node("busybox", config) == IS_ALICE
    assert await from_node("unknown.example/app", config) is None


async def test_a_helper_that_is_missing_is_no_login_and_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert await from_node("r.example/app", written(tmp_path, credHelpers={"r.example": "absent"})) is None
    assert "the node's logins cannot be read" in caplog.text


async def test_a_secret_comes_before_the_nodes_file(helper: Callable[[], str], tmp_path: Path) -> None:
    config = written(tmp_path, credsStore="test")
    known = secrets(s={"auths": {"r.example": {"auth": ALICE}}})
    assert await login("r.example/app", known, ["s"], config) == IS_ALICE
    assert helper() == ""
    assert await login("r.example/app", known, [], config) == {"username": "carol", "password": "s3"}
    assert await login("r.example/app", known, [], None) is None
    assert await login("r.example/app", known, [], tmp_path / "none") is None


async def test_a_pods_secret_never_has_a_program_run(helper: Callable[[], str]) -> None:
    hostile = secrets(s={"credHelpers": {"r.example": "test"}, "credsStore": "test", "auths": {"r.example": {}}})
    assert await login("r.example/app", hostile, ["s"], None) is None
    assert helper() == ""


def test_where_the_nodes_file_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", "/elsewhere")
    assert node_config() == Path("/elsewhere/config.json")
    monkeypatch.delenv("DOCKER_CONFIG")
    monkeypatch.setenv("HOME", "/home/x")
    assert node_config() == Path("/home/x/.docker/config.json")
    monkeypatch.delenv("HOME")
    assert node_config() == Path("/root/.docker/config.json")


def test_the_sdk_is_not_loaded_for_a_kubelet_that_needs_none() -> None:
    code = "import sys, services.standalone.workers; print('docker' in sys.modules, 'requests' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False False\n"
