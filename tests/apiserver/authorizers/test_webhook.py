"""A webhook that says who may do what: what it is asked, what its answers do, and what becomes of it when it is away, slow or lies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Forbidden, StatusError
from knarr.service.authentication import MASTERS, User
from knarr.service.certificates import CertificateAuthority
from services.apiserver.authorization import ALLOWED, NO_OPINION, Mode, Verdict, imagined_path
from services.apiserver.authorizers.chain import Chain
from services.apiserver.authorizers.webhook.authorizer import WebhookAuthorizer, WebhookSettings, spec_of, verdict_of
from services.apiserver.authorizers.webhook.conditions import MOST, MatchConditions
from services.apiserver.request import CREATE, GET, LIST, Request
from services.apiserver.results import Ref
from services.apiserver.webhooks.kubeconfig import read_remote
from services.apiserver.webhooks.remote_client import MOST_BYTES
from tests.support.webhook import Webhook, kubeconfig, running_webhook

PODS = version_of(core.Pod)
ANN = User("ann", "7", ("dev", "ops"), (("scopes", ("a",)),))


def said(**status: Any) -> Any:
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "status": status}


async def by_user(review: Any) -> Any:
    known: dict[str, Any] = {"ann": {"allowed": True}, "bob": {"allowed": False, "denied": True, "reason": "bob is away"}}
    return said(**known.get(review["spec"]["user"], {}))


@asynccontextmanager
async def asking(
    folder: Path, webhook: Webhook, conditions: Sequence[str] = (), ca: bytes = b"", **settings: Any
) -> AsyncIterator[WebhookAuthorizer]:
    endpoint = read_remote(kubeconfig(folder, webhook.url, ca or webhook.ca_bundle, token="shown"))
    made = WebhookAuthorizer(
        "company", endpoint, WebhookSettings(**{"timeout_seconds": 5.0, **settings}), MatchConditions(conditions) if conditions else None
    )
    try:
        yield made
    finally:
        await made.close()


def request(user: User = ANN, verb: str = GET, name: str = "web", options: Any = None) -> Request:
    return Request(user, verb, Ref(PODS, "shop", name), options)


async def decided(mode: Mode, wanted: Request) -> Verdict:
    found = mode.decide(wanted)
    return found if isinstance(found, Verdict) else await found


async def test_what_it_is_asked_and_what_its_answers_do(tmp_path: Path) -> None:
    async with running_webhook(by_user) as webhook, asking(tmp_path, webhook) as found:
        assert await decided(found, request()) == ALLOWED
        assert await decided(found, request(User("bob"))) == Verdict(denied=True, reason="bob is away")
        assert await decided(found, request(User("eve"))) == NO_OPINION
        first = webhook.asked[0]
        assert (first["apiVersion"], first["kind"]) == ("authorization.k8s.io/v1", "SubjectAccessReview")
        assert first["spec"] == {
            "user": "ann", "uid": "7", "groups": ["dev", "ops"], "extra": {"scopes": ["a"]},
            "resourceAttributes": {"namespace": "shop", "verb": "get", "version": "v1", "resource": "pods", "name": "web"},
        }  # fmt: skip


def test_selectors_and_paths_are_told() -> None:
    options = meta.ListOptions(field_selector="spec.nodeName=a", label_selector="b=c")
    about = spec_of(request(verb=LIST, name="", options=options))["resourceAttributes"]
    assert (about["fieldSelector"], about["labelSelector"]) == ({"rawSelector": "spec.nodeName=a"}, {"rawSelector": "b=c"})
    # A namespace lies in itself.
    namespace = spec_of(Request(ANN, GET, Ref(version_of(core.Namespace), name="shop"), None))["resourceAttributes"]
    assert (namespace["namespace"], namespace["name"]) == ("shop", "shop")
    path = spec_of(Request(User("ann"), GET, Ref(imagined_path("/metrics")), None))
    assert path == {"user": "ann", "nonResourceAttributes": {"path": "/metrics", "verb": "get"}}


async def test_answers_are_remembered_for_their_time(tmp_path: Path) -> None:
    async with running_webhook(by_user) as webhook, asking(tmp_path, webhook, authorized_ttl=100.0, unauthorized_ttl=0.0) as found:
        for _ in range(3):
            assert await decided(found, request()) == ALLOWED
            assert (await decided(found, request(User("bob")))).denied
        assert [asked["spec"]["user"] for asked in webhook.asked] == ["ann", "bob", "bob", "bob"]
        assert await decided(found, request(verb=CREATE)) == ALLOWED and len(webhook.asked) == 5
        found._known.learn(next(iter(found._known)), ALLOWED, 0.0)
        assert await decided(found, request()) == ALLOWED and len(webhook.asked) == 6
        found._known.most = 2
        for number in range(5):
            await decided(found, request(name=f"web-{number}"))
        known = len(found._known)
        await decided(found, request(User("ann", groups=tuple(f"group-{number}" for number in range(2000)))))
        assert len(found._known) == known


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no json",
        b"[]",
        {"kind": "Status"},
        {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"},
        said(allowed="yes"),
        said(allowed=True, denied=True),
        {**said(allowed=True), "apiVersion": "authorization.k8s.io/v1beta1"},
        web.Response(status=500),
        web.Response(status=302, headers={"location": "https://127.0.0.1:1/"}),
        b"x" * (MOST_BYTES + 1),
    ],
)
async def test_what_is_no_answer_counts_as_the_failure_policy_says(answer: Any, closed: bool, tmp_path: Path) -> None:
    async def answers(review: Any) -> Any:
        return web.Response(status=answer.status, headers=answer.headers) if isinstance(answer, web.Response) else answer

    async with running_webhook(answers) as webhook, asking(tmp_path, webhook, fails_closed=closed) as found:
        verdict = await decided(found, request())
        assert (verdict.allowed, verdict.denied) == (False, closed) and "company" in verdict.reason
        assert not found._known


async def test_one_that_is_slow_away_or_another(tmp_path: Path) -> None:
    async def slow(review: Any) -> Any:
        await asyncio.sleep(3600)

    async with running_webhook(slow) as webhook:
        async with asking(tmp_path, webhook, timeout_seconds=0.05) as found:
            assert (await decided(found, request())).denied
        other = CertificateAuthority.create().pair.certificate
        async with asking(tmp_path, webhook, ca=other) as found:
            assert (await decided(found, request())).denied
    async with asking(tmp_path, webhook) as found:
        assert (await decided(found, request())).denied


async def test_the_chain_hears_the_first_who_says_anything(tmp_path: Path) -> None:
    class Fixed:
        def __init__(self, verdict: Verdict) -> None:
            self.name, self.verdict = "fixed", verdict

        def decide(self, wanted: Request) -> Verdict:
            return self.verdict

    async with running_webhook(by_user) as webhook, asking(tmp_path, webhook) as found:

        async def may(user: str, *modes: Mode, groups: tuple[str, ...] = ()) -> bool:
            try:
                if (asking := Chain(modes).authorize(request(User(user, groups=groups)))) is not None:
                    await asking
            except Forbidden as error:
                assert "cannot get resource" in error.status.message
                return False
            return True

        assert await may("ann", found) and not await may("bob", found) and not await may("eve", found)
        assert await may("eve", found, Fixed(ALLOWED)) and not await may("bob", found, Fixed(ALLOWED))
        assert not await may("ann", Fixed(Verdict(denied=True)), found)
        asked = len(webhook.asked)
        assert await may("bob", found, groups=(MASTERS,)) and len(webhook.asked) == asked
        assert [name for name, _ in await Chain([found, Fixed(ALLOWED)]).verdicts(request(User("eve")))] == ["company", "fixed"]


async def test_conditions_say_what_it_is_asked_about(tmp_path: Path) -> None:
    conditions = ["has(request.resourceAttributes)", "request.resourceAttributes.namespace == 'shop'", "!('ops' in request.groups)"]
    async with running_webhook(by_user) as webhook, asking(tmp_path, webhook, conditions) as found:
        assert await decided(found, request(User("ann", groups=("dev",)))) == ALLOWED
        assert await decided(found, request(User("ann", groups=("ops",)))) == NO_OPINION
        assert await decided(found, Request(User("ann"), GET, Ref(imagined_path("/metrics")), None)) == NO_OPINION
        assert len(webhook.asked) == 1


async def test_a_condition_that_fails_counts_as_the_failure_policy_says(tmp_path: Path) -> None:
    conditions = ["request.resourceAttributes.namespace == 'shop'"]
    path = Request(ANN, GET, Ref(imagined_path("/metrics")), None)
    async with running_webhook(by_user) as webhook:
        async with asking(tmp_path, webhook, conditions) as found:
            assert (await decided(found, path)).denied
        async with asking(tmp_path, webhook, [*conditions, "request.user == 'eve'"]) as found:
            assert await decided(found, path) == NO_OPINION
        async with asking(tmp_path, webhook, conditions, fails_closed=False) as found:
            assert not (await decided(found, path)).denied
        assert not webhook.asked


@pytest.mark.parametrize("source", ["request.", "1", "request.name == 'a'", "object == 1"])
def test_conditions_that_are_none(source: str) -> None:
    with pytest.raises(ValueError, match="expression"):
        MatchConditions([source])


def test_there_are_so_many_conditions_at_most() -> None:
    with pytest.raises(ValueError, match="at most"):
        MatchConditions(["true"] * (MOST + 1))


@pytest.mark.parametrize("answer", [b"1", b"{}", b'{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "status": 1}'])
def test_answers_that_are_none(answer: bytes) -> None:
    with pytest.raises(ValueError):
        verdict_of(answer)


def test_a_refusal_is_an_error_of_the_api() -> None:
    with pytest.raises(StatusError):
        Chain([]).authorize(request())
