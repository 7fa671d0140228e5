"""Which logins are tried for an image, and in which order."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.node.credential_providers import CredentialProviders
from services.kubelet.node.keyring import Credential, Owner, secret_credentials
from services.kubelet.pod.pull_logins import PullLogins
from services.kubelet.pod.references import References

ALICE = base64.b64encode(b"alice:secret:with:colons").decode()
IS_ALICE = {"username": "alice", "password": "secret:with:colons"}


def secret(name: str, auths: Any, **more: Any) -> core.Secret:
    made = core.Secret(type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": json.dumps({"auths": auths, **more}).encode()})
    made.metadata.name, made.metadata.namespace, made.metadata.uid = name, "default", f"uid-{name}"
    return made


def login(user: str) -> dict[str, str]:
    return {"username": user, "password": "x"}


def tried(reference: str, *secrets: core.Secret) -> list[str]:
    """Users, in the order of trial."""
    known = {one.metadata.name: one for one in secrets}
    return [one.login["username"] for one in secret_credentials(reference, known, known)]


@pytest.mark.parametrize(
    ("image", "server", "entry", "found"),
    [
        ("registry.example/app:1", "registry.example", {"auth": ALICE}, IS_ALICE),
        ("registry.example/app:1", "https://registry.example/v2/", {"auth": ALICE}, IS_ALICE),
        ("registry.example/app:1", "registry.example", {"auth": ALICE, "username": "other", "password": "y"}, IS_ALICE),
        ("registry.example:5000/app", "registry.example:5000", {"username": "bob", "password": "x"}, login("bob")),
        ("registry.example/app", "registry.example", {"identitytoken": "t"}, {"identitytoken": "t"}),
        ("registry.example/app", "*.example", {"auth": ALICE}, IS_ALICE),
        ("registry.example/team/app", "registry.example/team", {"auth": ALICE}, IS_ALICE),
        ("registry.example/app", "registry.example/team", {"auth": ALICE}, None),
        ("registry.example/app", "registry.example/*", {"auth": ALICE}, None),
        ("busybox", "https://index.docker.io/v1/", {"auth": ALICE}, IS_ALICE),
        ("docker.io/library/busybox", "docker.io", {"auth": ALICE}, IS_ALICE),
        ("registry.example/app", "other.example", {"auth": ALICE}, None),
        ("registry.example/app", "registry.example", {"auth": "no base64!"}, None),
        ("registry.example/app", "registry.example", {}, None),
        ("registry.example/app", "registry.example", {"username": 1}, None),
        ("registry.example/app", "registry.example", "no object", None),
        ("registry.example/app", "", {"auth": ALICE}, None),
    ],
)
def test_a_pods_secret_knows_its_registry(image: str, server: str, entry: Any, found: dict[str, str] | None) -> None:
    owned = [Credential(found, Owner("uid-s", "default", "s"))] if found is not None else []
    assert secret_credentials(image, {"s": secret("s", {server: entry})}, ["s"]) == owned


def test_the_most_precise_goes_first_then_who_came_first() -> None:
    first = secret("first", {"r.io": login("a"), "r.io/team/app": login("b")})
    second = secret("second", {"r.io": login("c"), "r.io/team": login("d")})
    assert tried("r.io/team/app:1", first, second) == ["b", "d", "a", "c"]
    assert tried("r.io/team/app:1", second, first) == ["b", "d", "c", "a"]
    assert tried("r.io/other", first, second) == ["a", "c"]


def test_the_hubs_other_names_are_for_who_has_none_of_its_own() -> None:
    assert tried("busybox", secret("s", {"https://index.docker.io/v1/": login("a"), "docker.io/library": login("b")})) == ["b"]


def test_the_type_says_how_a_secret_is_read() -> None:
    old = core.Secret(type="kubernetes.io/dockercfg", data={".dockercfg": json.dumps({"r.io": login("old")}).encode()})
    opaque = secret("opaque", {"r.io": login("a")})
    opaque.type = "Opaque"
    known = {"old": old, "opaque": opaque, "broken": secret("broken", 3)}
    found = secret_credentials("r.io/app", known, ["missing", "broken", "opaque", "old"])
    assert [one.login["username"] for one in found] == ["old"]


@pytest.mark.hostile
@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"auths":' * 900 + b"1" + b"}" * 900, b"\xff", b"null"])
def test_what_is_nested_deeply_or_is_no_json_is_no_login(text: bytes) -> None:
    hostile = core.Secret(type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": text})
    assert secret_credentials("r.example/app", {"s": hostile}, ["s"]) == []


def pod(*names: str) -> core.Pod:
    return core.Pod(spec=core.PodSpec(image_pull_secrets=[core.LocalObjectReference(name=name) for name in names]))


async def test_the_nodes_own_come_after_the_pods(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"r.io": login("node")}}))
    references = References(secrets={"mine": secret("mine", {"r.io": login("pod")})})
    logins = PullLogins(pod("mine", "gone"), "r.io/app:1", references, tmp_path / "config.json", CredentialProviders((), tmp_path))
    assert [one.login["username"] async for one in logins] == ["pod", "node"] and logins.missing == ["gone"]


async def test_a_pods_secret_never_has_a_program_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker-credential-test"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/run\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    hostile = secret("s", {"r.io": {}}, credHelpers={"r.io": "test"}, credsStore="test")
    logins = PullLogins(pod("s"), "r.io/app", References(secrets={"s": hostile}), None, CredentialProviders((), tmp_path))
    assert [one async for one in logins] == [] and not (tmp_path / "run").exists()
