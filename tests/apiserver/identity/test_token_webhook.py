"""A webhook that knows tokens: what it is asked, what its answers come to, and when it is away, slow, lying or asked by many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from knarr.machinery.errors import StatusError, TooManyRequests, Unauthorized
from knarr.service.authentication import User
from knarr.service.certificates import CertificateAuthority
from knarr.service.errors import CommandError
from services.apiserver.identity import webhook as asking
from services.apiserver.identity.webhook import AT_ONCE, REMEMBERED, WebhookTokens
from services.apiserver.tokens.accounts import ISSUER, Refused
from services.apiserver.webhooks.kubeconfig import read_remote
from services.apiserver.webhooks.remote import Remote
from services.apiserver.webhooks.remote_client import MOST_BYTES
from tests.support.virtual_time import virtual_time
from tests.support.webhook import Webhook, kubeconfig, running_webhook

KNOWN = {"authenticated": True, "user": {"username": "carol", "uid": "7", "groups": ["dev"], "extra": {"example.com/a": ["x"]}}}
CAROL = User("carol", "7", ("dev", "system:authenticated"), (("example.com/a", ("x",)),))


def review(status: Any, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status, **more}


@asynccontextmanager
async def asked(folder: Path, answer: Any, **options: Any) -> AsyncIterator[tuple[WebhookTokens, Webhook]]:
    """What asks a webhook that answers, or raises, or calls, what is given."""

    async def say(body: Any) -> Any:
        if callable(answer):
            return await answer(body)
        return answer

    async def at_once(seconds: float) -> None:
        return None

    async with running_webhook(say) as there:
        remote = read_remote(kubeconfig(folder, there.url, there.ca_bundle, token="secret"))
        tokens = WebhookTokens(remote, options.pop("ttl_seconds", 120.0), sleep=at_once, **options)
        try:
            yield tokens, there
        finally:
            await tokens.close()


async def who(tokens: WebhookTokens, token: str = "t") -> User | None:
    try:
        found = tokens.authenticate(token)
        return found if isinstance(found, User) else await found
    except Unauthorized:
        return None


async def test_the_webhook_is_asked_once_for_a_while(tmp_path: Path) -> None:
    async with asked(tmp_path, review(KNOWN)) as (tokens, there):
        assert await asyncio.gather(*(who(tokens) for _ in range(50))) == [CAROL] * 50
        assert tokens.authenticate("t") == CAROL
        (body,) = there.asked
        assert (body["kind"], body["spec"]) == ("TokenReview", {"token": "t", "audiences": [ISSUER]})


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"authenticated": False, "error": "no such token"}, "no such token"),
        ({}, "the token is not known"),
        (None, "the token is not known"),
        ({"authenticated": "true", "user": {"username": "x"}}, "the token is not known"),
        ({"authenticated": True}, "names nobody"),
        ({"authenticated": True, "user": {"username": "x"}, "audiences": ["other"]}, "another audience"),
        ({"authenticated": True, "user": []}, "names nobody"),
        ({"authenticated": True, "user": "x"}, "not understood"),
        ({"authenticated": True, "user": {"username": "x", "groups": 7}}, "not understood"),
        ({"authenticated": True, "user": {"username": "x", "groups": ["g"] * 5000}}, "4096 groups"),
    ],
    ids=lambda value: value[:24].replace(" ", "-") if isinstance(value, str) else "",
)
async def test_what_says_nobody(tmp_path: Path, status: Any, words: str) -> None:
    async with asked(tmp_path, review(status)) as (tokens, _):
        assert await who(tokens) is None
        with pytest.raises(Refused, match=words):
            await tokens.review("t", ())


@pytest.mark.parametrize(
    "answer",
    [
        {"kind": "Status"},
        {"apiVersion": "authentication.k8s.io/v1beta1", "kind": "TokenReview", "status": KNOWN},
        [],
        b"not json",
        b"x" * (MOST_BYTES + 1),
        web.Response(status=302, headers={"Location": "/"}),
        web.Response(status=404),
    ],
    ids=["Status", "v1beta1", "list", "text", "large", "redirect", "404"],
)
async def test_what_is_no_answer_is_not_remembered(tmp_path: Path, answer: Any) -> None:
    async with asked(tmp_path, answer) as (tokens, there):
        assert await who(tokens) is None
        there.answer = _always(review(KNOWN))
        assert await who(tokens) == CAROL


def _always(found: Any) -> Callable[[Any], Any]:
    async def say(body: Any) -> Any:
        return found

    return say


async def test_one_that_fails_is_asked_again(tmp_path: Path) -> None:
    answers = [web.Response(status=500), web.Response(status=503), review(KNOWN)]

    async def say(body: Any) -> Any:
        return answers.pop(0)

    async with asked(tmp_path, say) as (tokens, there):
        assert await who(tokens) == CAROL
        assert len(there.asked) == 3


async def test_one_that_is_away(tmp_path: Path) -> None:
    async with asked(tmp_path, review(KNOWN)) as (tokens, there):
        pass
    tokens = WebhookTokens(read_remote(kubeconfig(tmp_path, there.url, there.ca_bundle)), 120.0, sleep=_no_time)
    assert await who(tokens) is None
    with pytest.raises(Refused, match="did not answer"):
        await tokens.review("t", ())
    await tokens.close()


async def _no_time(seconds: float) -> None:
    return None


async def test_one_with_a_strangers_certificate_is_not_asked(tmp_path: Path) -> None:
    async with running_webhook(_always(review(KNOWN))) as there:
        other = CertificateAuthority.create().pair.certificate
        tokens = WebhookTokens(read_remote(kubeconfig(tmp_path, there.url, other)), 120.0, sleep=_no_time)
        assert await who(tokens) is None
        assert not there.asked
        await tokens.close()


async def test_one_that_is_slow_holds_up_a_number_of_callers_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, all_there, asking_now = asyncio.Event(), asyncio.Event(), 0

    async def say(body: Any) -> Any:
        nonlocal asking_now
        asking_now += 1
        if asking_now == AT_ONCE:
            all_there.set()
        await go.wait()
        return review(KNOWN)

    async with asked(tmp_path, say) as (tokens, _):
        waiting = [asyncio.ensure_future(who(tokens, str(number))) for number in range(AT_ONCE)]
        await all_there.wait()
        with pytest.raises(TooManyRequests):
            await tokens.review("one more", ())
        # Who gives up takes nobody's answer away.
        also = asyncio.ensure_future(who(tokens, "0"))
        await asyncio.sleep(0)
        waiting[0].cancel()
        go.set()
        assert await also == CAROL
        assert await asyncio.gather(*waiting[1:]) == [CAROL] * (AT_ONCE - 1)
        monkeypatch.setattr(asking, "ASK_SECONDS", 0.05)
        go.clear()
        with pytest.raises(Refused, match="longer than"):
            await tokens.review("slow", ())


@virtual_time
async def test_an_answer_holds_for_its_time() -> None:
    said = [KNOWN, {"authenticated": False}, KNOWN]
    tokens = _scripted(said)
    assert await who(tokens) == CAROL
    await asyncio.sleep(119)
    assert (await who(tokens), len(said)) == (CAROL, 2)
    await asyncio.sleep(2)
    assert await who(tokens) is None
    assert await who(tokens) is None and len(said) == 1
    await asyncio.sleep(121)
    assert await who(tokens) == CAROL


@virtual_time
async def test_what_is_remembered_is_bounded_and_is_no_token() -> None:
    tokens = _scripted([KNOWN] * (REMEMBERED + 2))
    for number in range(REMEMBERED + 1):
        await who(tokens, f"token-{number}")
    assert len(tokens._known) == REMEMBERED
    assert all(len(key) == 32 for key in tokens._known)


async def test_what_is_asked_about_one_token_says_nothing_of_another() -> None:
    tokens = _scripted([KNOWN, {"authenticated": False}])
    assert (await tokens.review("t", ["a", "b"]))[0] == CAROL
    with pytest.raises(Refused):
        await tokens.review("t\0a", ["b"])


def _scripted(said: list[Any]) -> WebhookTokens:
    class Scripted(WebhookTokens):
        async def _post(self, body: bytes) -> bytes:
            return orjson.dumps(review(said.pop(0)))

    return Scripted(Remote("http://there", None, {}), 120.0)


def _config(cluster: str = "server: https://x", user: str = "{}") -> str:
    head = "{current-context: c, contexts: [{name: c, context: {cluster: x, user: u}}], "
    return f"{head}clusters: [{{name: x, cluster: {{{cluster}}}}}], users: [{{name: u, user: {user}}}]}}"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("[]", "must be an object"),
        ("kind: Pod", "no kubeconfig"),
        ("{}", "no context ''"),
        ("a: [", "yaml"),
        ("{current-context: c, contexts: [{name: c, context: {cluster: x}}]}", "no cluster 'x'"),
        (_config("server: ftp://x"), "no URL of HTTP"),
        (_config("server: https://x, proxy-url: http://y"), "proxy-url of the cluster is not honoured"),
        (_config(user="{exec: {}}"), "exec of the user is not honoured"),
        (_config(user="{client-certificate-data: AAAA}"), "belong together"),
    ],
)
def test_kubeconfigs_that_cannot_be_meant(document: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(document)
    with pytest.raises(CommandError, match=words):
        read_remote(file)


async def test_this_server_shows_itself(tmp_path: Path) -> None:
    """By a token, or by a certificate, whose files may be named from the kubeconfig's own folder."""
    authority = CertificateAuthority.create()
    authority.issue("apiserver").save(tmp_path, "us")
    shown = {"client-certificate": "us.crt", "client-key": "us.key"}
    found = read_remote(kubeconfig(tmp_path, "https://there", authority.pair.certificate, **shown))
    assert found.context is not None and not found.headers
    (tmp_path / "token").write_text("secret\n")
    assert read_remote(kubeconfig(tmp_path, "https://there", tokenFile="token")).headers == {"Authorization": "Bearer secret"}


def test_errors_are_statuses() -> None:
    assert issubclass(TooManyRequests, StatusError)
