"""Programs that know logins to registries: which are asked, what they say, and for how long it holds."""

from __future__ import annotations

import argparse
import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.credential_config import Provider, TokenAttributes, parse_config
from services.kubelet.image_flags import add_image_flags, image_settings
from services.kubelet.image_match import matches, repository_of
from services.kubelet.image_verification import DEFAULT_VERIFICATION
from services.kubelet.node import credential_providers
from services.kubelet.node.credential_providers import CredentialProviders, ProviderFailure, parsed
from services.kubelet.node.keyring import Credential, Owner

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

REQUIRED, OPTIONAL = "requiredServiceAccountAnnotationKeys", "optionalServiceAccountAnnotationKeys"


def tokens(**changes: Any) -> str:
    """The field with these changes."""
    right = {"serviceAccountTokenAudience": "r.io", "cacheType": "Token", "requireServiceAccount": True}
    return f"tokenAttributes: {json.dumps(right | changes)}"


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


def test_what_a_program_is_told_of_accounts() -> None:
    (found,) = parse_config(CONFIG.replace("args: [get]", tokens(**{REQUIRED: ["example.com/Role"], OPTIONAL: ["zone"]})).encode())
    assert found.tokens == TokenAttributes("r.io", "Token", True, ("example.com/Role",), ("zone",))
    with pytest.raises(ValueError, match="is for programs of apiVersion"):
        parse_config(CONFIG.replace("args: [get]", tokens()).replace(f": {V1}", f": {V1}beta1").encode())


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
        ("args: [get]", "tokenAttributes: {}", "providers[0].tokenAttributes.serviceAccountTokenAudience: is needed"),
        ("args: [get]", "tokenAttributes: {audience: a}", "providers[0].tokenAttributes: unknown field 'audience'"),
        ("args: [get]", tokens(cacheType="Pod"), "providers[0].tokenAttributes.cacheType: must be ServiceAccount or Token"),
        ("args: [get]", tokens(requireServiceAccount=1), "requireServiceAccount: must be true or false"),
        ("args: [get]", tokens(**{REQUIRED: ["a b"]}), f"tokenAttributes.{REQUIRED}[0]: 'a b'"),
        ("args: [get]", tokens(**{REQUIRED: ["a", "a"]}), f"tokenAttributes.{REQUIRED}[1]: 'a' is there twice"),
        ("args: [get]", tokens(**{REQUIRED: ["a"], OPTIONAL: ["a"]}), "a cannot be both required and optional"),
        ("args: [get]", tokens(**{REQUIRED: ["a"]}, requireServiceAccount=False), "needs requireServiceAccount: true"),
        ("args: [get]", "arguments: [get]", "providers[0]: unknown field 'arguments'"),
        ("{name: REGION, value: here}", "{value: here}", "providers[0].env[0]: name and value must be strings"),
    ],
)
def test_what_is_no_configuration(before: str, after: str, words: str) -> None:
    with pytest.raises(ValueError) as failed:
        parse_config(CONFIG.replace(before, after).encode())
    assert words in str(failed.value)


def provider(name: str = "plugin", *images: str, seconds: float = 60.0, tokens: TokenAttributes | None = None) -> Provider:
    return Provider(name, images or ("r.io",), seconds, V1, ("get",), (("TOKEN", "secret"),), tokens)


POD = core.Pod()
FOUND = [Credential({"username": "u", "password": "p"})]


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
    found = await asyncio.gather(*(providers.credentials("r.io/a:1", POD) for _ in range(3)))
    assert found == [FOUND] * 3
    request = '{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"r.io/a"}'
    assert asked(tmp_path) == [f"{request} get secret"]
    assert await providers.credentials("other.io/a", POD) == []
    await providers.close()


@pytest.mark.parametrize(
    ("kind", "duration", "times"), [("Image", None, 2), ("Registry", None, 1), ("Global", "1h", 1), ("Image", "0s", 3), ("Global", "0s", 3)]
)
async def test_how_long_and_for_what_it_holds(tmp_path: Path, kind: str, duration: str | None, times: int) -> None:
    program(tmp_path, answer(kind, duration))
    providers = CredentialProviders((provider(),), tmp_path)
    for image in ("r.io/a:1", "r.io/a:2", "r.io/b:1"):
        assert await providers.credentials(image, POD) == FOUND
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
    assert await providers.credentials("r.io/a", POD) == FOUND
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


async def test_all_that_know_the_image_are_taken_the_most_precise_first(tmp_path: Path) -> None:
    logins: dict[str, Any] = {"r.io": {"username": "a", "password": ""}, "r.io/team": {"username": "b", "password": ""}}
    program(tmp_path, answer() | {"auth": logins}, "first")
    program(tmp_path, answer() | {"auth": {"https://r.io": {"username": "c", "password": ""}}}, "second")
    providers = CredentialProviders((provider("first"), provider("second")), tmp_path)
    assert [one.login["username"] for one in await providers.credentials("r.io/team/app", POD)] == ["b", "a", "c"]
    assert [one.login["username"] for one in await providers.credentials("r.io/x", POD)] == ["a", "c"]


class Accounts:
    """All pods' accounts are one."""

    def __init__(self, **annotations: str) -> None:
        self.made = core.ServiceAccount()
        self.made.metadata.name, self.made.metadata.namespace, self.made.metadata.uid = "robot", "default", "uid-robot"
        self.made.metadata.annotations.update(annotations)

    async def account(self, pod: core.Pod) -> core.ServiceAccount:
        return self.made

    async def token(self, pod: core.Pod, audience: str) -> str:
        return f"{pod.metadata.name} for {audience}"


def robots(name: str) -> core.Pod:
    pod = core.Pod(spec=core.PodSpec(service_account_name="robot"))
    pod.metadata.name, pod.metadata.namespace = name, "default"
    return pod


OF_ROBOT = [Credential({"username": "u", "password": "p"}, account=Owner("uid-robot", "default", "robot"))]


@pytest.mark.parametrize(("cache_type", "times"), [("ServiceAccount", 1), ("Token", 2)])
async def test_a_program_is_told_of_the_pods_account(tmp_path: Path, cache_type: str, times: int) -> None:
    program(tmp_path, answer("Registry"))
    wanted = TokenAttributes("r.io", cache_type, True, ("role",), ("zone", "none"))
    providers = CredentialProviders((provider(tokens=wanted),), tmp_path, Accounts(role="puller", zone="z", other="o"))
    for name in ("one", "two", "one"):
        assert await providers.credentials("r.io/a", robots(name)) == OF_ROBOT
    told = [json.loads(line.rpartition(" get ")[0]) for line in asked(tmp_path)]
    assert len(told) == times
    assert told[0]["serviceAccountToken"] == "one for r.io" and told[0]["serviceAccountAnnotations"] == {"role": "puller", "zone": "z"}


async def test_who_is_not_asked_for_a_pod(tmp_path: Path) -> None:
    program(tmp_path, answer())
    required, optional = (TokenAttributes("r.io", "Token", requires, ("role",) if requires else ()) for requires in (True, False))
    providers = CredentialProviders((provider(tokens=required),), tmp_path, Accounts())
    assert await providers.credentials("r.io/a", robots("without the annotation")) == []
    assert await providers.credentials("r.io/a", POD) == [] and asked(tmp_path) == []
    free = CredentialProviders((provider(tokens=optional),), tmp_path, Accounts())
    assert await free.credentials("r.io/a", POD) == FOUND and "serviceAccount" not in asked(tmp_path)[0]


async def test_a_token_of_one_pod_is_no_login_of_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program(tmp_path, answer() | {"auth": {"r.io": {"username": "u", "password": "one for r.io"}}})
    shared = CredentialProviders((provider(tokens=TokenAttributes("r.io", "ServiceAccount", True)),), tmp_path, Accounts())
    assert await shared.credentials("r.io/a", robots("one")) == []
    assert "its cacheType must be Token" in str(caplog.records[-1].__dict__["error"])
    own = CredentialProviders((provider(tokens=TokenAttributes("r.io", "Token", True)),), tmp_path, Accounts())
    assert len(await own.credentials("r.io/a", robots("one"))) == 1


def _flags(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_image_flags(parser)
    return parser.parse_args(given)


def test_flags(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(CONFIG)
    assert image_settings(_flags()) == {"max_parallel_pulls": 0, "image_verification": DEFAULT_VERIFICATION}
    assert image_settings(_flags("--serialize-image-pulls"))["max_parallel_pulls"] == 1
    both = f"--image-credential-provider-config={tmp_path}/config", f"--image-credential-provider-bin-dir={tmp_path}"
    found = image_settings(_flags(*both, "--max-parallel-image-pulls=3"))
    assert (found["max_parallel_pulls"], found["credential_providers"][0].name) == (3, "ecr")
    (tmp_path / "config").write_text("x")
    for given in (both[:1], both, ["--serialize-image-pulls", "--max-parallel-image-pulls=3"]):
        with pytest.raises(ValueError, match="--"):
            image_settings(_flags(*given))
