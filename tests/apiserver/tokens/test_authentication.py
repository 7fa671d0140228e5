"""As whom a token's owner is known, and for how long."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Unauthorized
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.pipeline.token_request import MAX_AUDIENCES
from services.apiserver.tokens.accounts import MAX_TOKEN_LETTERS, REMEMBERED
from tests.apiserver.tokens.asking import ISSUER, NAME, bound, claims, token, uid, who
from tests.apiserver.tokens.conftest import pod
from tests.support.faces import RestClient, rpc_client
from tests.support.set_clock import SetClock

ACCOUNT = "/api/v1/namespaces/shop/serviceaccounts/robot"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


async def test_who_a_pod_is(rest: RestClient) -> None:
    text = await token(rest, bound("Pod", "web"))
    assert await who(rest, text) == {
        "username": NAME,
        "uid": await uid(rest, ACCOUNT),
        "groups": ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"],
        "extra": {
            "authentication.kubernetes.io/credential-id": [f"JTI={claims(text)['jti']}"],
            "authentication.kubernetes.io/node-name": ["node-1"],
            "authentication.kubernetes.io/node-uid": [await uid(rest, "/api/v1/nodes/node-1")],
            "authentication.kubernetes.io/pod-name": ["web"],
            "authentication.kubernetes.io/pod-uid": [await uid(rest, "/api/v1/namespaces/shop/pods/web")],
        },
    }


@pytest.mark.parametrize(
    ("kind", "name", "path"),
    [
        ("Pod", "web", "/api/v1/namespaces/shop/pods/web?gracePeriodSeconds=0"),
        ("Secret", "key", "/api/v1/namespaces/shop/secrets/key"),
        ("Node", "node-1", "/api/v1/nodes/node-1"),
        ("", "", ACCOUNT),
    ],
)
async def test_a_token_ends_with_what_it_is_bound_to(kind: str, name: str, path: str, rest: RestClient) -> None:
    text = await token(rest, bound(kind, name) if kind else {})
    other = await token(rest, bound("Secret", "key") if kind == "Pod" else bound("Pod", "web"))
    assert (await who(rest, text))["username"] == NAME
    assert (await rest.call("DELETE", path)).status == 200
    assert await who(rest, text) == 401
    assert (await who(rest, other) == 401) == (not kind)


async def test_a_pod_that_was_made_anew_is_another(rest: RestClient, api: ApiInMemory) -> None:
    text = await token(rest, bound("Pod", "web"))
    await api.client().delete(core.Pod, "web", "shop", grace_period_seconds=0)
    await api.client().create(pod())
    assert await who(rest, text) == 401
    assert (await who(rest, await token(rest, bound("Pod", "web"))))["username"] == NAME


async def test_a_pod_that_ends_keeps_its_token_for_its_grace_and_a_minute(rest: RestClient, clock: SetClock) -> None:
    text = await token(rest, bound("Pod", "web"))
    assert (await rest.call("DELETE", "/api/v1/namespaces/shop/pods/web")).status == 200
    clock.move(90)
    assert (await who(rest, text))["username"] == NAME
    clock.move(1)
    assert await who(rest, text) == 401


async def test_a_token_expires_whichever_way_the_clock_jumps(rest: RestClient, clock: SetClock) -> None:
    text = await token(rest)
    for seconds, good in ((3660, True), (1, False), (-3661, True), (-60, True), (-1, False), (61, True)):
        clock.move(seconds)
        assert (await who(rest, text) != 401) is good


async def test_a_token_for_others_is_none_for_this_server(rest: RestClient) -> None:
    assert await who(rest, await token(rest, {"audiences": ["vault"]})) == 401
    assert (await who(rest, await token(rest, {"audiences": ["vault", ISSUER]})))["username"] == NAME


def _segment(said: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(said)).rstrip(b"=").decode()


async def test_nobody_says_himself_by_what_a_token_is_judged(rest: RestClient, api: ApiInMemory) -> None:
    good = await token(rest)
    header, payload, signature = good.split(".")
    key = (await rest.get("/openid/v1/jwks")).json["keys"][0]
    forged = [
        f"{_segment({'alg': 'none'})}.{payload}.",
        f"{_segment({'alg': 'none', 'kid': key['kid']})}.{payload}.{signature}",
        f"{_segment({'alg': 'HS256', 'kid': key['kid']})}.{payload}.{signature}",
        f"{_segment({'alg': 'ES256', 'kid': key['kid'], 'jwk': key})}.{payload}.{signature}",
        f"{header}.{payload}.",
        f"{header}.{payload}",
        f"{header}..{signature}",
        f"{header}.{payload}.{signature}.{signature}",
        f"{header}.{payload[:-2]}AA.{signature}",
        f"{header}.é.{signature}",
        f"{header}.{payload}.{'A' * MAX_TOKEN_LETTERS}",
        f"{header}.{_segment({'sub': 'system:masters'})}.{signature}",
        ".",
        "",
    ]
    for text in forged:
        assert await who(rest, text) == 401, text
    accounts = api.server.callers.accounts
    assert accounts is not None and accounts._verified.cache_info().currsize == 0
    assert (await who(rest, good))["username"] == NAME


async def test_what_is_signed_and_no_token_of_an_account_is_refused(rest: RestClient, api: ApiInMemory) -> None:
    accounts = api.server.callers.accounts
    assert accounts is not None
    said = claims(await token(rest))
    private = said["kubernetes.io"]
    wrong: list[Any] = [
        [],
        {},
        {**said, "iss": "https://elsewhere"},
        {**said, "sub": "system:serviceaccount:shop:other"},
        {**said, "aud": None},
        {**said, "exp": "never"},
        {**said, "exp": True},
        {**said, "kubernetes.io": []},
        {**said, "kubernetes.io": {**private, "pod": "web"}},
        {**said, "kubernetes.io": {**private, "pod": {"name": "../../web", "uid": "1"}}},
        {key: value for key, value in said.items() if key != "nbf"},
    ]
    for payload in wrong:
        assert await who(rest, accounts.keys.sign(orjson.dumps(payload))) == 401, payload
    assert await who(rest, accounts.keys.sign(b"[" * 1500)) == 401
    assert (await who(rest, accounts.keys.sign(orjson.dumps({**said, "aud": ISSUER}))))["username"] == NAME


async def test_what_is_remembered_is_bounded(rest: RestClient, api: ApiInMemory) -> None:
    accounts = api.server.callers.accounts
    assert accounts is not None and accounts._verified.cache_info().maxsize == REMEMBERED
    text = await token(rest)
    for _ in range(3):
        await who(rest, text)
    assert accounts._verified.cache_info().misses == 1


async def test_the_same_by_grpc(rest: RestClient, api: ApiInMemory, tmp_path: Path) -> None:
    text = await token(rest, bound("Pod", "web"))
    async with rpc_client(api, tmp_path, text) as client:
        assert await client.resources()
        await rest.call("DELETE", "/api/v1/namespaces/shop/pods/web?gracePeriodSeconds=0")
        with pytest.raises(Unauthorized):
            await client.resources()


async def _review(rest: RestClient, text: str, *audiences: str) -> Any:
    answer = await rest.call("POST", REVIEWS, {"spec": {"token": text, "audiences": list(audiences)}})
    return answer.json["status"]


async def test_others_ask_whose_a_token_is(rest: RestClient) -> None:
    own, foreign = await token(rest), await token(rest, {"audiences": ["vault", "db"]})
    found = await _review(rest, own)
    assert (found["authenticated"], found["audiences"], found["user"]["username"]) == (True, [ISSUER], NAME)
    assert (await _review(rest, foreign, "db", "other"))["audiences"] == ["db"]
    assert (await _review(rest, foreign))["error"] == f"token audiences ['vault', 'db'] is invalid for the target audiences ['{ISSUER}']"
    assert "authenticated" not in await _review(rest, own, "db")
    assert (await _review(rest, "secret", ISSUER))["user"]["username"] == "admin"
    assert "authenticated" not in await _review(rest, "secret", "db")
    await rest.call("DELETE", ACCOUNT)
    assert "is gone" in (await _review(rest, own))["error"]


async def test_a_review_names_no_more_audiences_than_a_token(rest: RestClient) -> None:
    """Each is looked for among those of the token, on the loop."""
    text = await token(rest, {"audiences": [f"a{number}" for number in range(MAX_AUDIENCES)]})
    for count, status in ((MAX_AUDIENCES, 201), (MAX_AUDIENCES + 1, 400)):
        spec = {"token": text, "audiences": [f"a{number}" for number in range(count)]}
        assert (await rest.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": spec})).status == status
