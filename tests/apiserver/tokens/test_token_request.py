"""Tokens as they are asked for: what they say, and what is refused, in Kubernetes' words."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api.authentication.v1 import authentication_pb2 as authentication
from knarr.api.meta.v1 import meta_pb2 as meta
from services.apiserver.in_memory import ApiInMemory
from tests.apiserver.tokens.asking import ISSUER, NAME, PATH, bound, claims, request, token, uid
from tests.support.faces import RestClient, rpc_client
from tests.support.virtual_time import START

NOW = int(START.timestamp())


async def test_a_token_says_whose_it_is_and_for_how_long(rest: RestClient) -> None:
    answer = await request(rest)
    assert answer.status == 201 and answer.json["kind"] == "TokenRequest"
    assert answer.json["spec"] == {"audiences": [ISSUER], "expirationSeconds": 3600, "boundObjectRef": None}
    assert answer.json["status"]["expirationTimestamp"] == "2026-01-01T01:00:00Z"
    said = claims(answer.json["status"]["token"])
    account = {"name": "robot", "uid": await uid(rest, "/api/v1/namespaces/shop/serviceaccounts/robot")}
    assert said.pop("jti")
    assert said == {
        "iss": ISSUER,
        "sub": NAME,
        "aud": [ISSUER],
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 3600,
        "kubernetes.io": {"namespace": "shop", "serviceaccount": account},
    }


async def test_what_a_token_is_bound_to(rest: RestClient) -> None:
    ids = {
        "pod": await uid(rest, "/api/v1/namespaces/shop/pods/web"),
        "node": await uid(rest, "/api/v1/nodes/node-1"),
        "secret": await uid(rest, "/api/v1/namespaces/shop/secrets/key"),
    }
    names = {"pod": "web", "node": "node-1", "secret": "key"}

    async def private(kind: str) -> Any:
        said = claims(await token(rest, bound(kind.capitalize(), names[kind], ids[kind])))["kubernetes.io"]
        return {name: said[name] for name in names if name in said}

    def told(*kinds: str) -> Any:
        return {kind: {"name": names[kind], "uid": ids[kind]} for kind in kinds}

    assert await private("pod") == told("pod", "node")
    assert await private("node") == told("node")
    assert await private("secret") == told("secret")


async def test_what_pods_are_given_is_good_for_a_year_and_says_when_it_should_have_been_renewed(rest: RestClient) -> None:
    wanted = {**bound("Pod", "web"), "expirationSeconds": 3607}
    answer = await request(rest, wanted)
    said = claims(answer.json["status"]["token"])
    assert answer.json["status"]["expirationTimestamp"] == "2026-01-01T01:00:07Z"
    assert (said["exp"], said["kubernetes.io"]["warnafter"]) == (NOW + 365 * 24 * 3600, NOW + 3607)
    for other in ({"expirationSeconds": 3607}, {**wanted, "audiences": ["vault"]}, {**wanted, "expirationSeconds": 3608}):
        said = claims(await token(rest, other))
        assert said["exp"] == NOW + other["expirationSeconds"] and "warnafter" not in said["kubernetes.io"]


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        ({"expirationSeconds": 599}, 422, "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": 2**32 + 1}, 422, "may not specify a duration larger than 2^32 seconds"),
        (bound("Pod", "other"), 404, 'pods "other" not found'),
        (bound("Pod", "web", "1"), 409, "the UID in the bound object reference (1) does not match the UID in record"),
        (bound("Pod", "foreign"), 400, 'cannot bind token for serviceaccount "robot" to pod running with different serviceaccount name.'),
        (bound("ConfigMap", "web"), 400, "cannot bind token to object of type /v1, Kind=ConfigMap"),
        ({"audiences": [f"a{number}" for number in range(65)]}, 400, "64 audiences at most"),
    ],
)
async def test_what_is_refused(spec: dict[str, Any], code: int, words: str, rest: RestClient, api: ApiInMemory) -> None:
    from tests.apiserver.tokens.conftest import pod

    api.seed(pod("foreign", "default"))
    await api.settle()
    answer = await request(rest, spec)
    assert answer.status == code and words in answer.json["message"]


async def test_a_request_may_not_name_another_account(rest: RestClient) -> None:
    assert (await request(rest, path=PATH.replace("robot", "nobody"))).status == 404
    assert (await request(rest, metadata={"name": "other"})).status == 400
    assert (await request(rest, metadata={"namespace": "other"})).status == 400


async def test_a_request_may_say_which_account_of_the_name_it_means(rest: RestClient) -> None:
    account = await uid(rest, "/api/v1/namespaces/shop/serviceaccounts/robot")
    assert (await request(rest, metadata={"uid": account})).status == 201
    answer = await request(rest, metadata={"uid": "another"})
    assert answer.status == 409
    told = f"the UID in the token request (another) does not match the UID of the service account ({account})"
    assert answer.json["message"].endswith(told)


async def test_a_dry_run_makes_no_token(rest: RestClient) -> None:
    answer = await request(rest, path=f"{PATH}?dryRun=All")
    assert answer.status == 201 and not answer.json["status"]["token"]


async def test_a_server_without_a_key_says_so() -> None:
    async with ApiInMemory() as api:
        answer = await request(RestClient(api), path="/api/v1/namespaces/default/serviceaccounts/default/token")
        assert answer.status == 503 and "--service-account-key" in answer.json["message"]
        assert (await RestClient(api).get("/openid/v1/jwks")).status == 404


async def test_the_same_by_grpc_and_within_the_process(api: ApiInMemory, tmp_path: Any) -> None:
    wanted = authentication.TokenRequest(metadata=meta.ObjectMeta(name="robot", namespace="shop"))
    wanted.spec.audiences.append("vault")
    async with rpc_client(api, tmp_path) as client:
        for found in (
            await client.create(wanted, subresource="token", name="robot"),
            await api.client().create(wanted, subresource="token", name="robot"),
        ):
            assert claims(found.status.token)["aud"] == ["vault"]


async def test_others_find_the_keys(rest: RestClient) -> None:
    configuration = (await rest.get("/.well-known/openid-configuration")).json
    assert configuration["issuer"] == ISSUER and configuration["id_token_signing_alg_values_supported"] == ["ES256"]
    keys = await rest.get(configuration["jwks_uri"].removeprefix(ISSUER))
    assert keys.headers["content-type"] == ["application/jwk-set+json"]
    from joserfc import jwt
    from joserfc.jwk import KeySet

    found = jwt.decode(await token(rest), KeySet.import_key_set(keys.json), algorithms=["ES256"])
    assert found.claims["sub"] == NAME and "d" not in keys.json["keys"][0]
