"""The file that says who decides: what it may say, and how it is followed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from knarr.service.authentication import User
from knarr.service.certificates import CertificateAuthority
from knarr.service.errors import CommandError
from services.apiserver.authorizers import reloading
from services.apiserver.authorizers.catalog import MODES, Parts, modes
from services.apiserver.authorizers.chain import Chain
from services.apiserver.authorizers.configuration import parse_modes, read_modes
from services.apiserver.authorizers.reloading import LOOK_SECONDS, Reloading
from services.apiserver.authorizers.webhook.authorizer import WebhookAuthorizer, WebhookSettings
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rbac.grants import Grants
from tests.apiserver.authorizers.test_webhook import decided, request
from tests.support.virtual_time import virtual_time
from tests.support.webhook import kubeconfig

CA = CertificateAuthority.create().pair.certificate
WEBHOOK: dict[str, Any] = {
    "timeout": "3s",
    "subjectAccessReviewVersion": "v1",
    "matchConditionSubjectAccessReviewVersion": "v1",
    "failurePolicy": "Deny",
    "authorizedTTL": "1m30s",
    "unauthorizedTTL": "500ms",
    "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "FILE"},
    "matchConditions": [{"expression": "has(request.resourceAttributes)"}],
}


@pytest.fixture
def parts() -> Parts:
    cache = ApiInMemory().server.backend.cache
    return Parts(cache, Grants(cache))


def text(*authorizers: Any, **changed: Any) -> bytes:
    document = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": list(authorizers)}
    return yaml.safe_dump({**document, **changed}).encode()


def webhook(folder: Path, name: str = "company", **changed: Any) -> dict[str, Any]:
    file = kubeconfig(folder, "https://127.0.0.1:1/", CA)
    said = {**WEBHOOK, "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": str(file)}, **changed}
    return {"type": "Webhook", "name": name, "webhook": {key: value for key, value in said.items() if value is not None}}


def test_those_who_decide_in_their_order(tmp_path: Path, parts: Parts) -> None:
    found = parse_modes(text({"type": "Node", "name": "node"}, webhook(tmp_path), {"type": "RBAC", "name": "rbac"}), parts)
    assert [mode.name for mode in found] == ["Node", "company", "RBAC"]
    asked = found[1]
    assert isinstance(asked, WebhookAuthorizer)
    assert asked._settings == WebhookSettings(3.0, 90.0, 0.5, fails_closed=True)


def test_what_is_left_out(tmp_path: Path, parts: Parts) -> None:
    said = webhook(
        tmp_path, authorizedTTL=None, unauthorizedTTL=None, failurePolicy="NoOpinion", matchConditions=None, cacheAuthorizedRequests=False
    )
    (found,) = parse_modes(text(said), parts)
    assert isinstance(found, WebhookAuthorizer)
    assert found._settings == WebhookSettings(3.0, 0.0, 30.0, fails_closed=False) and found._conditions is None


NODE, RBAC = {"type": "Node", "name": "node"}, {"type": "RBAC", "name": "rbac"}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"", "must be one"),
        (b"{", "line"),
        (text(NODE, kind="Other"), "must be one"),
        (text(NODE, more=1), "unknown field 'more'"),
        (text(), "at least one"),
        (text(*[{"type": "RBAC", "name": f"a{number}"} for number in range(65)]), "at most 64"),
        (text("Node"), "must be a mapping"),
        (text({"type": "Node"}), "name"),
        (text({"type": "Node", "name": "No!"}), "lower case"),
        (text(NODE, {**RBAC, "name": "node"}), "there already"),
        (text(NODE, {**NODE, "name": "two"}), "there already"),
        (text({"type": "ABAC", "name": "abac"}), "there is no 'ABAC'"),
        (text({**NODE, "webhook": {}}), "type Webhook"),
        (text({"type": "Webhook", "name": "w"}), "must be a mapping"),
    ],
)
def test_what_it_may_not_say(document: bytes, words: str, parts: Parts) -> None:
    with pytest.raises(ValueError, match=words):
        parse_modes(document, parts)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"more": 1}, "unknown field"),
        ({"timeout": None}, "duration"),
        ({"timeout": "31s"}, "at most 30 s"),
        ({"timeout": "0s"}, "more than 0 s"),
        ({"timeout": "3"}, "duration"),
        ({"timeout": 3}, "duration"),
        ({"subjectAccessReviewVersion": "v1beta1"}, "must be v1"),
        ({"matchConditionSubjectAccessReviewVersion": None}, "must be v1"),
        ({"failurePolicy": "Allow"}, "NoOpinion or Deny"),
        ({"connectionInfo": {"type": "InClusterConfig"}}, "KubeConfigFile"),
        ({"connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "here"}}, "absolute"),
        ({"matchConditions": [{"expression": "request."}]}, r"matchConditions\[0\].expression"),
        ({"matchConditions": [{"expression": ""}]}, "must be a text"),
        ({"matchConditions": {}}, "must be a list"),
        ({"cacheAuthorizedRequests": "yes"}, "true or false"),
    ],
)
def test_what_a_webhook_may_not_say(changed: Any, words: str, tmp_path: Path, parts: Parts) -> None:
    said = webhook(tmp_path)
    said["webhook"] = {key: value for key, value in {**said["webhook"], **changed}.items() if value is not None}
    if changed == {"matchConditions": {}}:
        said["webhook"]["matchConditions"] = {"a": 1}
    with pytest.raises(ValueError, match=words):
        parse_modes(text(said), parts)


def test_files_that_cannot_be_read(tmp_path: Path, parts: Parts) -> None:
    for file in (tmp_path / "none", tmp_path):
        with pytest.raises(CommandError, match="cannot be read"):
            read_modes(file, parts)
    (tmp_path / "large").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(CommandError, match="larger"):
        read_modes(tmp_path / "large", parts)


async def test_modes_by_name(parts: Parts) -> None:
    allow, deny = modes(parts, ("AlwaysAllow", "AlwaysDeny"))
    assert (await decided(allow, request())).allowed and not (await decided(deny, request())).allowed
    assert MODES.keys() == {"Node", "RBAC", "AlwaysAllow", "AlwaysDeny"}


@contextlib.asynccontextmanager
async def following(file: Path, parts: Parts) -> AsyncIterator[Chain]:
    chain = Chain([])
    task = asyncio.create_task(Reloading(file, chain, parts).run())
    try:
        yield chain
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@virtual_time
async def test_a_change_counts_without_a_restart_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    cache = ApiInMemory().server.backend.cache
    file = tmp_path / "authorizers.yaml"
    file.write_bytes(text(NODE))
    async with following(file, Parts(cache, Grants(cache))) as chain:
        assert [mode.name for mode in chain.modes] == ["Node"]
        file.write_bytes(text({"type": "AlwaysAllow", "name": "all"}))
        await asyncio.sleep(LOOK_SECONDS + 1)
        assert [mode.name for mode in chain.modes] == ["AlwaysAllow"]
        assert chain.authorize(request(User("anybody"))) is None
        file.write_bytes(b"kind: Other")
        await asyncio.sleep(LOOK_SECONDS + 1)
        assert [mode.name for mode in chain.modes] == ["AlwaysAllow"]
        file.unlink()
        await asyncio.sleep(LOOK_SECONDS + 1)
        assert [mode.name for mode in chain.modes] == ["AlwaysAllow"]


@virtual_time
async def test_a_webhook_that_is_named_no_more_is_let_go(tmp_path: Path) -> None:
    cache, closed = ApiInMemory().server.backend.cache, []
    file = tmp_path / "authorizers.yaml"
    file.write_bytes(text(webhook(tmp_path)))
    async with following(file, Parts(cache, Grants(cache))) as chain:
        (mode,) = chain.modes

        async def close() -> None:
            closed.append(mode)

        mode.close = close  # type: ignore[attr-defined]
        file.write_bytes(text(NODE))
        await asyncio.sleep(LOOK_SECONDS + 1)
        assert not closed
        await asyncio.sleep(reloading.GRACE_SECONDS)
        assert closed == [mode]


def test_a_file_that_is_wrong_from_the_start(tmp_path: Path, parts: Parts) -> None:
    with pytest.raises(CommandError):
        Reloading(tmp_path / "none", Chain([]), parts)
