"""All kinds of tokens before one API server: their order, reviews, bootstrap tokens, anonymous callers, a configuration that changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from services.apiserver.identity.callers import AUTHORIZATION_LETTERS
from services.apiserver.identity.configuration import parse_authentication
from services.apiserver.identity.followed import Followed
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rbac.defaults import defaults
from services.apiserver.rest.application import create_app
from services.apiserver.settings import ApiServerSettings, IdentitySettings
from tests.apiserver.identity.test_configuration import document, issuer
from tests.apiserver.identity.test_issued_tokens import NOW, claims
from tests.apiserver.tokens.asking import token as token_of
from tests.support.faces import TOKEN, TOKENS, RestClient
from tests.support.issuer import Issuer, signed
from tests.support.set_clock import SetClock
from tests.support.signing import signing_keys

REVIEWS, SELF = "/apis/authentication.k8s.io/v1/tokenreviews", "/apis/authentication.k8s.io/v1/selfsubjectreviews"
BOOTSTRAP = "abcdef.0123456789abcdef"


def bootstrap_secret(name: str = "bootstrap-token-abcdef", kind: str = "bootstrap.kubernetes.io/token", **changes: str) -> core.Secret:
    data = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:knarr:worker",
        "expiration": "2026-01-02T00:00:00Z",
    }
    data |= {key.replace("_", "-"): value for key, value in changes.items()}
    found = core.Secret(metadata=meta.ObjectMeta(name=name, namespace="kube-system"), type=kind)
    found.data.update({key: value.encode() for key, value in data.items() if value})
    return found


class World:
    def __init__(self, api: ApiInMemory, clock: SetClock, file: Path) -> None:
        self.api, self.clock, self.file, self.rest = api, clock, file, RestClient(api)
        server = api.server
        known = server.known
        self.rest.application = create_app(server.api, server.callers, server.registry, anonymous=lambda: known.anonymous)

    @property
    def followed(self) -> Followed:
        found = self.api.server.known.followed
        assert found is not None
        return found

    async def who(self, token: str) -> Any:
        answer = await self.rest.call("POST", SELF, {}, authorization=f"Bearer {token}")
        return answer.json["status"]["userInfo"] if answer.status == 201 else answer.status

    async def review(self, token: str, audiences: Sequence[str] = ()) -> Any:
        return (await self.rest.call("POST", REVIEWS, {"spec": {"token": token, "audiences": list(audiences)}})).json["status"]

    def configure(self, text: bytes) -> None:
        self.file.write_bytes(text)
        self.followed.take()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock, there, file = SetClock(), Issuer(), tmp_path / "authentication.yaml"
    file.write_bytes(document(issuer()))
    settings = replace(ApiServerSettings(), identity=IdentitySettings(configuration=file))
    api = ApiInMemory(clock, settings=settings, authenticate=TOKENS.authenticate, keys=signing_keys())
    api.seed(core.ServiceAccount(metadata=meta.ObjectMeta(name="robot", namespace="shop")), bootstrap_secret(), *defaults())
    async with api:
        followed = api.server.known.followed
        assert followed is not None
        issued = followed.issued
        issued._get = there.fetch
        issued.follow(())
        issued.follow(parse_authentication(file.read_bytes()).issuers)
        running = asyncio.create_task(api.server.known.run())
        for _ in range(20):
            await asyncio.sleep(0)
        yield World(api, clock, file)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_each_kind_names_its_user(world: World) -> None:
    account = await token_of(world.rest)
    shown = {"list": TOKEN, "issuer": signed(claims()), "account": account, "boot": BOOTSTRAP}
    found = {name: await world.who(text) for name, text in shown.items()}
    assert {name: user["username"] for name, user in found.items()} == {
        "list": "admin",
        "issuer": "carol",
        "account": "system:serviceaccount:shop:robot",
        "boot": "system:bootstrap:abcdef",
    }
    assert found["boot"]["groups"] == ["system:bootstrappers", "system:bootstrappers:knarr:worker", "system:authenticated"]
    assert all("system:authenticated" in user["groups"] for name, user in found.items() if name != "list")


async def test_each_kind_is_reviewed(world: World) -> None:
    found = await world.review(signed(claims()), ["knarr", "other"])
    assert (found["authenticated"], found["audiences"], found["user"]["username"]) == (True, ["knarr"], "carol")
    assert (await world.review(signed(claims())))["audiences"] == ["knarr"]
    assert "is invalid for the target audiences" in (await world.review(signed(claims()), ["other"]))["error"]
    assert "token is expired" in (await world.review(signed(claims(exp=NOW - 1))))["error"]
    assert (await world.review(BOOTSTRAP))["user"]["username"] == "system:bootstrap:abcdef"
    assert "for this API server alone" in (await world.review(BOOTSTRAP, ["other"]))["error"]
    assert (await world.review("nobody's"))["error"] == "the token is not known"


@pytest.mark.parametrize("token", ["", " ", "a.b.c", "x" * AUTHORIZATION_LETTERS, "é", "abcdef.0123456789abcdeX", "\x00", "Bearer x"])
async def test_what_is_nobodys(world: World, token: str) -> None:
    assert await world.who(token) == 401


async def test_many_bad_tokens_leave_nothing(world: World) -> None:
    for number in range(300):
        assert await world.who(signed(claims(jti=str(number)))[:-4] + "AAAA") == 401
    assert not world.followed.issued._known


@pytest.mark.parametrize(
    "changes",
    [
        {"token_secret": "0123456789abcdeX"},
        {"token_id": "abcdeX"},
        {"usage_bootstrap_authentication": ""},
        {"usage_bootstrap_authentication": "True"},
        {"kind": "Opaque"},
        {"expiration": "2025-12-31T00:00:00Z"},
        {"expiration": "soon"},
        {"expiration": "2027-01-01T00:00:00"},
        {"auth_extra_groups": "system:masters"},
        {"auth_extra_groups": "system:bootstrappers:a,system:bootstrappers"},
        {"name": "bootstrap-token-abcdeg"},
    ],
)
async def test_bootstrap_tokens_that_are_no_good(world: World, changes: dict[str, str]) -> None:
    await world.api.client().delete(core.Secret, "bootstrap-token-abcdef", "kube-system")
    world.api.seed(bootstrap_secret(**changes), checked=False)
    await world.api.settle()
    assert await world.who(BOOTSTRAP) == 401


async def test_a_bootstrap_token_ends(world: World) -> None:
    assert await world.who(BOOTSTRAP) != 401
    world.clock.move(86_400)
    assert await world.who(BOOTSTRAP) == 401
    world.clock.move(-60)
    assert await world.who(BOOTSTRAP) != 401
    await world.api.client().delete(core.Secret, "bootstrap-token-abcdef", "kube-system")
    assert await world.who(BOOTSTRAP) == 401


async def test_the_configuration_is_read_anew(world: World) -> None:
    token = signed(claims())
    world.configure(document(issuer(claimMappings__username={"claim": "sub", "prefix": "x:"})))
    for _ in range(20):
        await asyncio.sleep(0)
    assert (await world.who(token))["username"] == "x:carol"
    world.configure(b"nonsense")
    assert (await world.who(token))["username"] == "x:carol"
    world.configure(document())
    assert await world.who(token) == 401


async def ask(world: World, path: str) -> int:
    return (await world.rest.call("GET", path, authorization="")).status


async def test_anonymous_callers_see_health_and_version_unless_the_configuration_says_otherwise(world: World) -> None:
    paths = ("/livez", "/readyz", "/healthz", "/version", "/api", "/metrics", "/api/v1/namespaces")
    assert [await ask(world, path) for path in paths] == [200, 200, 200, 200, 401, 401, 401]
    world.configure(document(anonymous={"enabled": False}))
    assert [await ask(world, path) for path in paths] == [401] * 7
    world.configure(document(anonymous={"enabled": True, "conditions": [{"path": "/livez"}]}))
    assert [await ask(world, path) for path in paths] == [200, 401, 401, 401, 401, 401, 401]
    assert await ask(world, "/livez/ping") == 401
    world.configure(document(anonymous={"enabled": True}))
    # Known as nobody, they are asked for roles like everybody.
    assert [await ask(world, path) for path in paths] == [200, 200, 200, 200, 403, 403, 403]
