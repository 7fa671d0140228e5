"""Tokens of other issuers: what they say of a user, for how long, and what is no token."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from joserfc import jws
from joserfc.jwk import OctKey

from knarr.machinery.errors import Unauthorized
from knarr.service.authentication import User
from knarr.service.certificates import CertificateAuthority
from services.apiserver.identity.configuration import parse_authentication
from services.apiserver.identity.jwt.issuer_keys import MOST_BYTES, RETRY_SECONDS, fetch
from services.apiserver.identity.jwt.keys import MOST_KEYS
from services.apiserver.identity.jwt.tokens import MAX_TOKEN_LETTERS, IssuedTokens
from services.apiserver.tokens.accounts import Refused
from tests.apiserver.identity.test_configuration import document, issuer
from tests.support.connect_proxy import connect_proxy
from tests.support.issuer import CONFIGURATION, KEYS, URL, Issuer, public, signed
from tests.support.set_clock import SetClock
from tests.support.virtual_time import virtual_time

NOW = int(SetClock().now().timestamp())


def claims(**more: Any) -> dict[str, Any]:
    found = {"iss": URL, "aud": "knarr", "sub": "carol", "exp": NOW + 600, "iat": NOW, **more}
    return {name: value for name, value in found.items() if value is not None}


@asynccontextmanager
async def following(there: Issuer, clock: SetClock | None = None, **changes: Any) -> AsyncIterator[IssuedTokens]:
    """What knows the issuer's tokens, once it has its keys or the issuer has failed to say them."""
    tokens = IssuedTokens((clock or SetClock()).now, there.fetch)
    tokens.follow(parse_authentication(document(issuer(**changes))).issuers)
    running = asyncio.create_task(tokens.run())
    for _ in range(20):
        await asyncio.sleep(0)
    try:
        yield tokens
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _with_head(head: dict[str, Any]) -> str:
    """With a signature that is none."""
    segment = base64.urlsafe_b64encode(orjson.dumps(head)).rstrip(b"=").decode()
    return f"{segment}.{signed(claims()).split('.')[1]}.AAAA"


async def who(tokens: IssuedTokens, token: str) -> User | str:
    """The user; else the words in which the token is refused."""
    try:
        return (await tokens.review(token, ()))[0]
    except Refused as error:
        return str(error)


async def test_a_token_names_its_user() -> None:
    async with following(Issuer(), claimMappings__groups={"claim": "roles", "prefix": "oidc:"}) as tokens:
        token = signed(claims(roles=["dev", "ops"]))
        assert tokens.knows(token)
        assert tokens.authenticate(token) == User("carol", groups=("oidc:dev", "oidc:ops", "system:authenticated"))
        assert await tokens.review(token, ["knarr", "other"]) == (tokens.authenticate(token), ["knarr"])


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("P-256", "ES256"),
        ("P-384", "ES384"),
        ("P-521", "ES512"),
        *((("RSA2048", name)) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    ],
)
async def test_all_algorithms_of_public_keys(kind: str, algorithm: str) -> None:
    async with following(Issuer(public("k", kind))) as tokens:
        assert isinstance(tokens.authenticate(signed(claims(), "k", kind, algorithm)), User)


CLAIM, EXPRESSION = "claim", "expression"


@pytest.mark.parametrize(
    ("changes", "said", "found"),
    [
        ({}, {}, User("carol", groups=("system:authenticated",))),
        ({"claimMappings__username": {"claim": "sub", "prefix": "x:"}}, {}, User("x:carol", groups=("system:authenticated",))),
        ({"claimMappings__username": {"claim": "name", "prefix": ""}}, {}, "claim name is not present"),
        ({"claimMappings__username": {"claim": "name", "prefix": ""}}, {"name": 7}, "the username is no text"),
        ({"claimMappings__username": {"claim": "name", "prefix": ""}}, {"name": ""}, "the username is empty"),
        ({"claimMappings__username": {"claim": "email", "prefix": ""}}, {"email": "c@x", "email_verified": False}, "email not verified"),
        ({"claimMappings__username": {"claim": "email", "prefix": ""}}, {"email": "c@x", "email_verified": "true"}, "email not verified"),
        ({"claimMappings__username": {"claim": "email", "prefix": ""}}, {"email": "c@x"}, User("c@x", groups=("system:authenticated",))),
        (
            {"claimMappings__username": {"expression": 'claims.iss + "#" + claims.sub'}},
            {},
            User(f"{URL}#carol", groups=("system:authenticated",)),
        ),
        ({"claimMappings__username": {"expression": "claims.nobody"}}, {}, "error evaluating an expression"),
        (
            {"claimMappings__groups": {"claim": "roles", "prefix": ""}},
            {"roles": "dev"},
            User("carol", groups=("dev", "system:authenticated")),
        ),
        ({"claimMappings__groups": {"claim": "roles", "prefix": ""}}, {"roles": [1]}, "groups must be text or a list"),
        (
            {"claimMappings__groups": {"expression": "claims.roles.split(',')"}},
            {"roles": "a,b,,system:authenticated"},
            User("carol", groups=("a", "b", "system:authenticated")),
        ),
        (
            {"claimMappings__groups": {"expression": "has(claims.roles) ? claims.roles : null"}},
            {},
            User("carol", groups=("system:authenticated",)),
        ),
        ({"claimMappings__uid": {"claim": "id"}}, {"id": "7"}, User("carol", "7", ("system:authenticated",))),
        ({"claimMappings__uid": {"expression": "string(claims.id)"}}, {"id": 7}, User("carol", "7", ("system:authenticated",))),
        (
            {
                "claimMappings__extra": [
                    {"key": "example.com/a", "valueExpression": "claims.a"},
                    {"key": "example.com/b", "valueExpression": "''"},
                ]
            },
            {"a": ["x", "y"]},
            User("carol", "", ("system:authenticated",), (("example.com/a", ("x", "y")),)),
        ),
        ({"claimValidationRules": [{"claim": "hd", "requiredValue": "x"}]}, {}, "claim hd is missing"),
        ({"claimValidationRules": [{"claim": "hd", "requiredValue": "true"}]}, {"hd": True}, "claim hd is missing"),
        ({"claimValidationRules": [{"expression": "claims.hd == 'x'", "message": "not ours"}]}, {"hd": "y"}, "oidc: not ours"),
        (
            {"userValidationRules": [{"expression": "!user.username.startsWith('system:')", "message": "reserved"}]},
            {"sub": "system:admin"},
            "oidc: reserved",
        ),
        (
            {
                "claimMappings__groups": {"claim": "roles", "prefix": ""},
                "userValidationRules": [{"expression": "user.groups.all(g, !g.startsWith('system:'))", "message": "reserved"}],
            },
            {"roles": ["system:masters"]},
            "oidc: reserved",
        ),
        (
            {"claimMappings__username": {"expression": "claims.l.map(x, claims.l.map(y, y))[0][0]"}},
            {"l": ["a"] * 1000},
            "cost limit exceeded",
        ),
    ],
)
async def test_what_claims_come_to(changes: dict[str, Any], said: dict[str, Any], found: User | str) -> None:
    async with following(Issuer(), **changes) as tokens:
        told = await who(tokens, signed(claims(**said)))
        assert found == told if isinstance(found, User) else found in str(told)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (signed(claims(iss="https://other.example.com")), "an issuer that is not known"),
        (signed(claims(iss=None)), "an issuer that is not known"),
        (signed(claims(iss=[URL])), "an issuer that is not known"),
        (signed(claims(aud="other")), "another audience"),
        (signed(claims(aud=["other"])), "another audience"),
        (signed(claims(aud=None)), "another audience"),
        (signed(claims(exp=None)), "no time at which it ends"),
        (signed(claims(exp="tomorrow")), "no time at which it ends"),
        (signed(claims(exp=True)), "no time at which it ends"),
        (signed(claims(exp=NOW - 1)), "token is expired"),
        (signed(claims(nbf=NOW + 301)), "not valid yet"),
        (signed(claims(), "k1", "P-384", "ES384"), "no key of the issuer fits"),
        (signed(claims(), "stranger"), "no key of the issuer fits"),
        (signed(claims(), kid="k1")[:-6] + "AAAAAA", "failed to verify signature"),
        (signed(claims(), "other", kid="k1"), "failed to verify signature"),
        (_with_head({"alg": "ES256", "kid": "k1", "crit": ["exp"], "exp": 1}), "asks for what is not supported"),
        (_with_head({"alg": "ES256", "kid": 7}), "name of the token's key is no text"),
        (signed(b"[]"), "malformed"),
        (signed(b"not json"), "malformed"),
        (signed(b"[" * 4000), "malformed"),
        ("a.b.c", "malformed"),
        ("..", "malformed"),
        ("é.é.é", "malformed"),
        ("x" * (MAX_TOKEN_LETTERS + 1), f"{MAX_TOKEN_LETTERS} letters at most"),
    ],
    ids=lambda value: "" if "." in value else value[:30].replace(" ", "-"),
)
async def test_what_is_not_taken(token: str, words: str) -> None:
    async with following(Issuer()) as tokens:
        assert words in str(await who(tokens, token))


async def test_nobody_chooses_how_he_is_judged() -> None:
    """Neither no signature, nor one by a secret that is the public key."""
    secret = OctKey.import_key(orjson.dumps(public()))
    forged = jws.serialize_compact({"alg": "HS256", "kid": "k1"}, orjson.dumps(claims()), secret, ["HS256"])
    async with following(Issuer()) as tokens:
        for token in (_with_head({"alg": "none"}), _with_head({"alg": "NONE"}), str(forged)):
            assert "algorithm that is not supported" in str(await who(tokens, token))


async def test_what_else_a_header_says_does_not_matter() -> None:
    async with following(Issuer()) as tokens:
        assert isinstance(await who(tokens, signed(claims(), nonce="x", typ="at+jwt")), User)


async def test_a_token_that_names_no_key_is_tried_by_those_that_fit() -> None:
    async with following(Issuer(public("a"), public("b"))) as tokens:
        assert isinstance(await who(tokens, signed(claims(), "b", kid="")), User)


async def test_a_token_ends_in_time_whether_it_is_remembered_or_not() -> None:
    clock = SetClock()
    async with following(Issuer(), clock) as tokens:
        token = signed(claims(nbf=NOW))
        for seconds, good in ((0, True), (599, True), (2, False), (-700, True), (-400, False), (500, True)):
            clock.move(seconds)
            if good:
                assert isinstance(tokens.authenticate(token), User)
            else:
                with pytest.raises(Unauthorized):
                    tokens.authenticate(token)


@virtual_time
async def test_a_new_key_is_asked_for_when_a_token_names_it() -> None:
    there = Issuer(public("old"))
    async with following(there) as tokens:
        assert isinstance(tokens.authenticate(signed(claims(), "old")), User)
        await asyncio.sleep(60)
        there.say(public("new"))
        asked = len(there.asked)
        token = signed(claims(), "new")
        assert all(isinstance(found, User) for found in await asyncio.gather(*(who(tokens, token) for _ in range(100))))
        assert len(there.asked) == asked + 2
        assert "no key of the issuer fits" in str(await who(tokens, signed(claims(), "old")))


@virtual_time
async def test_strangers_do_not_choose_how_often_an_issuer_is_asked() -> None:
    there = Issuer()
    async with following(there) as tokens:
        loop = asyncio.get_running_loop()
        begin, asked = loop.time(), len(there.asked)
        for number in range(200):
            assert "no key of the issuer fits" in str(await who(tokens, signed(claims(jti=str(number)), "stranger")))
            await asyncio.sleep(0.5)
        assert len(there.asked) - asked <= 2 * ((loop.time() - begin) / 10 + 1)


@virtual_time
async def test_an_issuer_that_is_away_shuts_nobody_out_whom_it_has_let_in() -> None:
    there = Issuer()
    there.pages[KEYS] = OSError("nobody is there")
    async with following(there) as tokens:
        token = signed(claims())
        assert "no key of the issuer fits" in str(await who(tokens, token))
        assert tokens.trouble(URL) == "nobody is there"
        there.say(public())
        await asyncio.sleep(25)
        assert isinstance(await who(tokens, token), User) and not tokens.trouble(URL)
        there.pages.clear()
        await asyncio.sleep(3600)
        assert isinstance(await who(tokens, token), User)
        assert tokens.trouble(URL) == "nobody is there"


@pytest.mark.parametrize(
    ("url", "page", "words"),
    [
        (CONFIGURATION, {"issuer": f"{URL}/", "jwks_uri": KEYS}, "speaks of another issuer"),
        (CONFIGURATION, {"issuer": URL}, "jwks_uri is missing"),
        (CONFIGURATION, {"issuer": URL, "jwks_uri": "http://issuer.example.com/keys"}, "jwks_uri is no https URL"),
        (CONFIGURATION, [], "speaks of another issuer"),
        (KEYS, {"keys": 7}, "no JSON Web Key Set"),
        (KEYS, [], "no JSON Web Key Set"),
        (KEYS, {"keys": [{}] * (MOST_KEYS + 1)}, f"{MOST_KEYS} are the most"),
    ],
)
async def test_an_issuer_that_lies_is_not_believed(url: str, page: Any, words: str) -> None:
    there = Issuer()
    there.pages[url] = orjson.dumps(page)
    async with following(there) as tokens:
        assert words in tokens.trouble(URL)


@pytest.mark.parametrize(
    "said",
    [
        7,
        {},
        {"kty": "oct", "k": "AAAA", "kid": "k1"},
        {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA", "kid": "k1"},
        {"kty": ["EC"], "kid": "k1"},
        {"kty": "EC", "crv": ["P-256"], "kid": "k1"},
        {"kty": "EC", "crv": "P-256", "x": 7, "y": "AA", "kid": "k1"},
        {"kty": "EC", "crv": "P-256", "kid": "k1"},
        {"kty": "RSA", "n": "_" * 400, "kid": "k1"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "k1"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "k1"},
        public("k1", use="enc"),
        public("k1", alg="ES384"),
        public("k1", kid=7),
    ],
    # Processes that share the tests must call them the same; the keys are made anew in each.
    ids=[
        "number",
        "empty",
        "oct",
        "curve",
        "list",
        "curves",
        "number-x",
        "no-x",
        "no-e",
        "no-point",
        "small",
        "encrypts",
        "other-algorithm",
        "kid",
    ],
)
async def test_keys_that_are_no_use_are_left_out(said: Any) -> None:
    async with following(Issuer(said, public("good"))) as tokens:
        assert "no key of the issuer fits" in str(await who(tokens, signed(claims())))
        assert isinstance(await who(tokens, signed(claims(), "good")), User)


@virtual_time
async def test_an_issuer_is_asked_on_whatever_befalls() -> None:
    there = Issuer()
    keys, there.pages[KEYS] = there.pages[KEYS], RuntimeError("never thought of")
    async with following(there) as tokens:
        assert tokens.trouble(URL) == "never thought of"
        there.pages[KEYS] = keys
        await asyncio.sleep(RETRY_SECONDS + 1)
        assert isinstance(await who(tokens, signed(claims())), User)


@virtual_time
async def test_issuers_come_and_go() -> None:
    there = Issuer()
    async with following(there) as tokens:
        token = signed(claims())
        assert isinstance(await who(tokens, token), User)
        asked = len(there.asked)
        # The same again keeps its keys; one that is written otherwise asks for them.
        tokens.follow(parse_authentication(document(issuer())).issuers)
        assert isinstance(await who(tokens, token), User) and len(there.asked) == asked
        tokens.follow(parse_authentication(document(issuer(claimMappings__username={"claim": "sub", "prefix": "x:"}))).issuers)
        await asyncio.sleep(1)
        found = await who(tokens, token)
        assert isinstance(found, User) and found.name == "x:carol" and len(there.asked) == asked + 2
        tokens.follow(())
        await asyncio.sleep(1)
        assert not tokens.knows(token)
        await asyncio.sleep(7200)
        assert len(there.asked) == asked + 2


async def test_what_lies_at_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS of its own authority, whole, and nowhere else."""
    authority = CertificateAuthority.create()
    ca = authority.pair.certificate.decode()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/large":
            return web.Response(body=b"x" * (MOST_BYTES + 1))
        if request.path == "/elsewhere":
            return web.Response(status=302, headers={"Location": "/page"})
        return web.Response(body=b"here") if request.path == "/page" else web.Response(status=404)

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue("issuer", hosts=["127.0.0.1", "issuer.invalid"]).save(tmp_path, "tls")
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        assert await fetch(f"{url}/page", ca) == b"here"
        for path, words in (("large", "more than"), ("elsewhere", "answered 302"), ("nowhere", "answered 404")):
            with pytest.raises(ValueError, match=words):
                await fetch(f"{url}/{path}", ca)
        with pytest.raises(OSError):
            await fetch(f"{url}/page", CertificateAuthority.create().pair.certificate.decode())
        # One that is reached by a proxy alone, and whose authority is one of the machine's by the environment.
        async with connect_proxy(runner.addresses[0][1]) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            (tmp_path / "authorities.pem").write_text(ca)
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authorities.pem"))
            assert await fetch("https://issuer.invalid/page", "") == b"here"
            assert proxy.asked == ["issuer.invalid:443"]
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)
