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

from services.kubelet.node.keyring import Credential
from services.kubelet.node.registry_logins import from_node, node_config

ALICE = base64.b64encode(b"alice:secret:with:colons").decode()
IS_ALICE = [Credential({"username": "alice", "password": "secret:with:colons"})]
IS_CAROL = [Credential({"username": "carol", "password": "s3"})]


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
    assert await from_node("r.example/app:1", config) == IS_CAROL
    assert await from_node("other.example/app:1", config) == IS_ALICE
    assert helper() == "r.example\n"


async def test_a_store_that_does_not_know_the_registry_leaves_the_rest(helper: Callable[[], str], tmp_path: Path) -> None:
    config = written(tmp_path, credsStore="test", auths={"https://index.docker.io/v1/": {"auth": ALICE}})
    assert await from_node("busybox", config) == IS_ALICE
    assert await from_node("unknown.example/app", config) == []


async def test_a_helper_that_is_missing_is_no_login_and_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert await from_node("r.example/app", written(tmp_path, credHelpers={"r.example": "absent"})) == []
    assert "the node's logins cannot be read" in caplog.text


async def test_all_that_the_nodes_file_knows_is_tried(helper: Callable[[], str], tmp_path: Path) -> None:
    auths = {"r.example": {"auth": ALICE}, "r.example/team": {"username": "bob", "password": "x"}}
    config = written(tmp_path, credHelpers={"r.example": "test"}, auths=auths)
    found = await from_node("r.example/team/app", config)
    assert [one.login["username"] for one in found] == ["carol", "bob", "alice"]
    assert [one.login["username"] for one in await from_node("r.example/other", config)] == ["carol", "alice"]


@pytest.mark.parametrize("text", ["", "[]", '{"auths": []}', '{"auths": {"r.example": 1}}'])
async def test_a_file_without_logins(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert await from_node("r.example/app", tmp_path / "config.json") == []
    assert await from_node("r.example/app", tmp_path / "none") == []


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
