"""Programs that know logins to registries: which are asked, what they say, and for how long it holds."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.credential_config import Provider, parse_config
from services.kubelet.image_flags import add_image_flags, image_settings
from services.kubelet.image_match import matches, repository_of
from services.kubelet.node import credential_providers
from services.kubelet.node.credential_providers import CredentialProviders, ProviderFailure, best, parsed
from services.kubelet.node.registry_logins import login

V1 = "credentialprovider.kubelet.k8s.io/v1"
CONFIG = """
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: ecr
  matchImages: ["*.dkr.ecr.*.amazonaws.com", "registry.io:8080/path"]
  defaultCacheDuration: 10m
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  args: [get]
  env: [{name: REGION, value: here}]
"""


@pytest.mark.parametrize(
    ("pattern", "repository", "found"),
    [
        ("registry.io", "registry.io/a", True),
        ("registry.io", "registry.io:8080/a", False),
        ("registry.io:8080", "registry.io:8080/a", True),
        ("*.io", "registry.io/a", True),
        ("*.io", "x.registry.io/a", False),
        ("*.*.io", "x.registry.io/a", True),
        ("app*.registry.io", "app1.registry.io/a", True),
        ("registry.io/foo", "registry.io/foo/bar", True),
        ("registry.io/foo", "registry.io/bar", False),
        ("docker.io", "docker.io/library/busybox", True),
        ("*", "localhost/a", True),
    ],
)
def test_patterns(pattern: str, repository: str, found: bool) -> None:
    assert matches(pattern, repository) is found


@pytest.mark.parametrize("pattern", ["https://registry.io", "registry.io/*", "registry.io:*", "registry.io:port", "", "/path"])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError):
        matches(pattern, "registry.io/a")


def test_repositories() -> None:
    assert [repository_of(text) for text in ("busybox", "a/b:1", "r.io:80/a:1@sha256:" + "0" * 64, "localhost/a")] == [
        "docker.io/library/busybox", "docker.io/a/b", "r.io:80/a", "localhost/a",
    ]  # fmt: skip


def test_a_configuration() -> None:
    (found,) = parse_config(CONFIG.encode())
    assert found == Provider("ecr", ("*.dkr.ecr.*.amazonaws.com", "registry.io:8080/path"), 600.0, V1, ("get",), (("REGION", "here"),))


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("kind: CredentialProviderConfig", "kind: Other", "it must be one CredentialProviderConfig"),
        ("name: ecr", "name: ../ecr", "providers[0].name: must be the name of a program"),
        ("*.dkr.ecr.*.amazonaws.com", "https://x", "providers[0].matchImages[0]"),
        ("defaultCacheDuration: 10m", "defaultCacheDuration: soon", "providers[0].defaultCacheDuration: 'soon' is not a time"),
        ("defaultCacheDuration: 10m", "", "providers[0].defaultCacheDuration: is needed"),
        ("credentialprovider.kubelet.k8s.io/v1", "v2", "providers[0].apiVersion: must be one of"),
        ("args: [get]", "args: get", "providers[0].args: must be a list of strings"),
        ("args: [get]", "tokenAttributes: {}", "providers[0].tokenAttributes: this kubelet gives providers no tokens"),
        ("args: [get]", "arguments: [get]", "providers[0]: unknown field 'arguments'"),
        ("{name: REGION, value: here}", "{value: here}", "providers[0].env[0]: name and value must be strings"),
    ],
)
def test_what_is_no_configuration(before: str, after: str, words: str) -> None:
    with pytest.raises(ValueError) as failed:
        parse_config(CONFIG.replace(before, after).encode())
    assert words in str(failed.value)


def provider(name: str = "plugin", *images: str, seconds: float = 60.0) -> Provider:
    return Provider(name, images or ("r.io",), seconds, V1, ("get",), (("TOKEN", "secret"),))


def answer(kind: str = "Image", duration: str | None = None, **auth: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": "CredentialProviderResponse", "apiVersion": V1, "cacheKeyType": kind}
    told["auth"] = auth or {"r.io": {"username": "u", "password": "p"}}
    return told | ({"cacheDuration": duration} if duration is not None else {})


def program(folder: Path, said: object, name: str = "plugin", rest: str = "") -> Path:
    """One that notes how it was asked."""
    made = folder / name
    text = said if isinstance(said, str) else json.dumps(said)
    made.write_text(f"#!/bin/sh\n{{ cat; echo \" $1 $TOKEN\"; }} >> {folder}/asked\ncat <<'EOF'\n{text}\nEOF\n{rest}\n")
    made.chmod(made.stat().st_mode | stat.S_IXUSR)
    return made


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines() if (folder / "asked").exists() else []


async def test_a_program_is_asked(tmp_path: Path) -> None:
    program(tmp_path, answer())
    providers = CredentialProviders((provider("plugin", "r.io"),), tmp_path)
    found = await asyncio.gather(*(providers.login("r.io/a:1") for _ in range(3)))
    assert found == [{"username": "u", "password": "p"}] * 3
    request = '{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"r.io/a"}'
    assert asked(tmp_path) == [f"{request} get secret"]
    assert await providers.login("other.io/a") is None
    await providers.close()


@pytest.mark.parametrize(
    ("kind", "duration", "times"), [("Image", None, 2), ("Registry", None, 1), ("Global", "1h", 1), ("Image", "0s", 3), ("Global", "0s", 3)]
)
async def test_how_long_and_for_what_it_holds(tmp_path: Path, kind: str, duration: str | None, times: int) -> None:
    program(tmp_path, answer(kind, duration))
    providers = CredentialProviders((provider(),), tmp_path)
    for image in ("r.io/a:1", "r.io/a:2", "r.io/b:1"):
        assert await providers.login(image) is not None
    assert len(asked(tmp_path)) == times


async def test_one_that_fails_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(credential_providers, "ASK_SECONDS", 0.3)
    program(tmp_path, "no JSON", "words")
    program(tmp_path, answer(), "code", "echo broken >&2; exit 3")
    program(tmp_path, answer(), "slow", "exec sleep 60")
    program(tmp_path, "", "long", "head -c 2000000 /dev/zero")
    program(tmp_path, answer(), "good")
    names = ("none", "words", "code", "slow", "long", "good")
    providers = CredentialProviders(tuple(provider(name) for name in names), tmp_path)
    assert await providers.login("r.io/a") == {"username": "u", "password": "p"}
    errors = [str(record.__dict__.get("error")) for record in caplog.records]
    for words in (
        "cannot be run: no such file",
        "is no JSON",
        "exit code 3: broken",
        "did not answer within 0.3 seconds",
        "more than 1048576",
    ):
        assert any(words in error for error in errors), (words, errors)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([], "is no CredentialProviderResponse"),
        (answer() | {"apiVersion": "other"}, "is no CredentialProviderResponse"),
        (answer("Node"), "cacheKeyType: 'Node' is none of"),
        (answer(duration="x"), "cacheDuration: 'x' is not a time"),
        (answer() | {"auth": []}, "auth: must be a mapping"),
        (answer() | {"auth": {"r.io": {"username": 1}}}, "auth[r.io]: must have username and password"),
    ],
)
def test_what_is_no_answer(said: object, words: str) -> None:
    with pytest.raises(ProviderFailure) as failed:
        parsed(json.dumps(said).encode(), provider())
    assert words in str(failed.value)


def test_the_most_precise_pattern_is_taken() -> None:
    logins = {"r.io": {"username": "a"}, "r.io/team": {"username": "b"}, "https://r.io": {"username": "c"}}
    assert best(logins, "r.io/team/app") == {"username": "b"} and best(logins, "r.io/x") == {"username": "a"}
    assert best(logins, "other.io/x") is None


async def test_secrets_come_before_providers_and_those_before_the_nodes_file(tmp_path: Path) -> None:
    async def provided(reference: str) -> dict[str, str] | None:
        return {"username": "provided"} if reference.startswith("r.io/") else None

    def config(user: str, *registries: str) -> bytes:
        return json.dumps({"auths": {name: {"username": user, "password": "x"} for name in registries}}).encode()

    assert await login("r.io/a", {}, [], tmp_path / "none", provided) == {"username": "provided"}
    assert await login("s.io/a", {}, [], tmp_path / "none", provided) is None
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"auths": {name: {"auth": base64.b64encode(b"file:x").decode()} for name in ("r.io", "s.io", "t.io")}}))
    secrets = {"mine": core.Secret(type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": config("secret", "r.io", "t.io")})}
    found = {name: await login(f"{name}/a", secrets, ["mine"], file, provided) for name in ("r.io", "s.io", "t.io")}
    assert {name: (one or {})["username"] for name, one in found.items()} == {"r.io": "secret", "s.io": "file", "t.io": "secret"}
    assert await login("r.io/a", secrets, [], file, provided) == {"username": "provided"}


def _flags(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_image_flags(parser)
    return parser.parse_args(given)


def test_flags(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(CONFIG)
    assert image_settings(_flags()) == {"max_parallel_pulls": 0}
    assert image_settings(_flags("--serialize-image-pulls")) == {"max_parallel_pulls": 1}
    both = f"--image-credential-provider-config={tmp_path}/config", f"--image-credential-provider-bin-dir={tmp_path}"
    found = image_settings(_flags(*both, "--max-parallel-image-pulls=3"))
    assert (found["max_parallel_pulls"], found["credential_providers"][0].name) == (3, "ecr")
    (tmp_path / "config").write_text("x")
    for given in (both[:1], both, ["--serialize-image-pulls", "--max-parallel-image-pulls=3"]):
        with pytest.raises(ValueError, match="--"):
            image_settings(_flags(*given))
