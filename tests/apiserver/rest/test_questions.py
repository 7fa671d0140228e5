"""What is asked and answered, and not stored: reviews, the state of components; and bindings by their own path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from knarr.api.authorization.v1 import authorization_pb2 as authorization
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError
from knarr.service.authentication import TokenTable, User, hash_token
from services.apiserver.authorization import ALLOWED, NO_OPINION, Verdict, refusal
from services.apiserver.authorizers.chain import Chain
from services.apiserver.in_memory import ADMIN, ApiInMemory
from services.apiserver.request import Request
from tests.support.faces import RestClient

AUTHENTICATION, AUTHORIZATION = "/apis/authentication.k8s.io/v1", "/apis/authorization.k8s.io/v1"
BOB = User("bob", uid="7", groups=("builders", "system:authenticated"))
TOKENS = TokenTable({hash_token("t" * 32): BOB})
PODS = {"verb": "get", "resource": "pods", "namespace": "default"}


class OnlyReaders:
    """Whoever is not an administrator may read pods of one namespace."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, str]] = []

    def authorize(self, request: Request) -> None:
        ref = request.ref
        self.asked.append((request.verb, ref.version.group, ref.resource.plural, ref.namespace))
        if request.user != ADMIN and (request.verb, ref.resource.plural, ref.namespace) != ("get", "pods", "default"):
            raise refusal(request, "not today")


@pytest.fixture
async def api() -> AsyncIterator[ApiInMemory]:
    async with ApiInMemory(authorizer=OnlyReaders(), authenticate=TOKENS.authenticate) as found:
        yield found


@pytest.fixture
def rest(api: ApiInMemory) -> RestClient:
    return RestClient(api)


async def ask(rest: RestClient, path: str, spec: dict[str, Any], metadata: dict[str, Any] | None = None) -> Any:
    answer = await rest.call("POST", path, {"metadata": metadata or {}, "spec": spec})
    return answer.json["status"] if answer.status == 201 else answer.json


async def test_who_i_am(rest: RestClient) -> None:
    answer = await rest.call("POST", f"{AUTHENTICATION}/selfsubjectreviews", {})
    assert answer.status == 201 and answer.json["status"]["userInfo"]["username"] == ADMIN.name
    assert answer.json["status"]["userInfo"]["groups"] == list(ADMIN.groups)


async def test_whose_a_token_is(rest: RestClient) -> None:
    path = f"{AUTHENTICATION}/tokenreviews"
    known = await ask(rest, path, {"token": "t" * 32})
    user = {"username": "bob", "uid": "7", "groups": list(BOB.groups)}
    assert known == {"authenticated": True, "user": user, "audiences": ["https://kubernetes.default.svc.cluster.local"]}
    assert await ask(rest, path, {"token": "other"}) == {"user": {}, "error": "the token is not known"}


async def test_what_i_may(rest: RestClient, api: ApiInMemory) -> None:
    path = f"{AUTHORIZATION}/selfsubjectaccessreviews"
    assert await ask(rest, path, {"resourceAttributes": PODS}) == {"allowed": True}
    assert await ask(rest, path, {"nonResourceAttributes": {"verb": "get", "path": "/healthz"}}) == {"allowed": True}
    assert (await ask(rest, f"{AUTHORIZATION}/selfsubjectrulesreviews", {"namespace": "default"}))["incomplete"] is True


class Says:
    """One of a chain, who says the same to everybody."""

    def __init__(self, verdict: Verdict, *, later: bool = False) -> None:
        self.name, self._verdict, self._later = "says", verdict, later

    def decide(self, request: Request) -> Any:
        return self._answer() if self._later else self._verdict

    async def _answer(self) -> Verdict:
        await asyncio.sleep(0)
        return self._verdict


@pytest.mark.parametrize("later", [False, True], ids=["at-once", "later"])
@pytest.mark.parametrize(
    ("verdicts", "allowed", "denied", "words"),
    [
        ((Verdict(denied=True, reason="never"), ALLOWED), False, True, "never"),
        ((NO_OPINION, Verdict(denied=True)), False, True, "cannot get"),
        ((Verdict(reason="not I"), NO_OPINION), False, False, "not I"),
        ((NO_OPINION, ALLOWED), True, False, ""),
    ],
    ids=["a-no-is-final", "a-later-no", "nobody-says-yes", "a-yes"],
)
async def test_a_no_is_told_from_nobodys_yes_on_both_faces(
    verdicts: tuple[Verdict, ...], allowed: bool, denied: bool, words: str, later: bool
) -> None:
    chain = Chain([Says(verdict, later=later) for verdict in verdicts])
    async with ApiInMemory(authorizer=chain) as api:
        review = authorization.SubjectAccessReview(spec={"user": "bob"})
        review.spec.resource_attributes.MergeFrom(authorization.ResourceAttributes(verb="get", resource="pods", namespace="default"))
        found = (await api.client().create(review)).status
        assert (found.allowed, found.denied) == (allowed, denied) and words in found.reason
        shown = await ask(RestClient(api), f"{AUTHORIZATION}/subjectaccessreviews", {"user": "bob", "resourceAttributes": PODS})
        assert (shown["allowed"], shown.get("denied", False)) == (allowed, denied)


async def test_what_others_may_is_what_the_authorizer_says(rest: RestClient) -> None:
    path = f"{AUTHORIZATION}/subjectaccessreviews"
    assert await ask(rest, path, {"user": "bob", "resourceAttributes": PODS}) == {"allowed": True}
    refused = await ask(rest, path, {"user": "bob", "resourceAttributes": {**PODS, "verb": "delete"}})
    assert refused["allowed"] is False and 'User "bob" cannot delete resource "pods"' in refused["reason"]
    foreign = {"verb": "get", "group": "example.com", "resource": "widgets", "namespace": "default"}
    refused = await ask(rest, path, {"user": "bob", "resourceAttributes": foreign})
    assert 'cannot get resource "widgets" in API group "example.com" in the namespace "default"' in refused["reason"]


async def test_what_others_may_in_one_namespace(rest: RestClient) -> None:
    path = f"{AUTHORIZATION}/namespaces/default/localsubjectaccessreviews"
    assert await ask(rest, path, {"user": "bob", "resourceAttributes": PODS}) == {"allowed": True}
    wrong = await ask(rest, path, {"user": "bob", "resourceAttributes": {**PODS, "namespace": "other"}})
    assert [cause["field"] for cause in wrong["details"]["causes"]] == ["spec.resourceAttributes.namespace"]
    wrong = await ask(rest, path, {"user": "bob", "nonResourceAttributes": {"verb": "get", "path": "/"}})
    assert [cause["field"] for cause in wrong["details"]["causes"]] == ["spec.nonResourceAttributes"]


@pytest.mark.parametrize(
    ("spec", "metadata", "fields"),
    [
        ({}, {}, ["spec.resourceAttributes", "spec.user"]),
        ({"user": "u", "resourceAttributes": PODS, "nonResourceAttributes": {"path": "/"}}, {}, ["spec.nonResourceAttributes"]),
        ({"groups": ["g"], "resourceAttributes": PODS}, {"name": "n"}, ["metadata"]),
    ],
)
async def test_a_question_that_makes_no_sense(rest: RestClient, spec: Any, metadata: Any, fields: list[str]) -> None:
    answer = await ask(rest, f"{AUTHORIZATION}/subjectaccessreviews", spec, metadata)
    assert (answer["code"], [cause["field"] for cause in answer["details"]["causes"]]) == (422, fields)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/apis/authentication.k8s.io/v1/tokenreviews", "token is required for TokenReview in authentication"),
        (f"{AUTHORIZATION}/selfsubjectrulesreviews", "no namespace on request"),
    ],
    ids=["token", "rules"],
)
async def test_a_question_that_is_none_is_refused_as_kubernetes_does(rest: RestClient, path: str, words: str) -> None:
    answer = await rest.call("POST", path, {"spec": {}})
    assert (answer.status, answer.json["reason"], answer.json["message"]) == (400, "BadRequest", words)


async def test_the_rules_of_everybody() -> None:
    async with ApiInMemory() as api:
        status = await ask(RestClient(api), f"{AUTHORIZATION}/selfsubjectrulesreviews", {"namespace": "default"})
    assert status["resourceRules"] == [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
    assert (status["nonResourceRules"], status["incomplete"]) == ([{"verbs": ["*"], "nonResourceURLs": ["*"]}], False)


async def test_the_state_of_components(rest: RestClient) -> None:
    found = (await rest.get("/api/v1/componentstatuses")).json
    assert [(item["metadata"]["name"], item["conditions"][0]["status"]) for item in found["items"]] == [("etcd-0", "True")]
    one = await rest.get("/api/v1/componentstatuses/etcd-0")
    assert (one.status, one.json["conditions"][0]["message"]) == (200, "ok")
    assert (await rest.get("/api/v1/componentstatuses/scheduler")).status == 404
    assert (await rest.call("POST", "/api/v1/componentstatuses", {"metadata": {"name": "x"}})).status == 405


async def test_a_binding_by_its_own_path(rest: RestClient, api: ApiInMemory) -> None:
    pod = core.Pod(metadata=meta.ObjectMeta(name="p", namespace="default"))
    pod.spec.containers.add(name="c", image="i")
    await api.client().create(pod)
    path, target = "/api/v1/namespaces/default/bindings", {"target": {"kind": "Node", "name": "n"}}
    assert (await rest.call("POST", path, {"metadata": {"name": "p"}, **target})).status == 201
    assert (await api.client().get(core.Pod, "p", "default")).spec.node_name == "n"
    assert (await rest.call("POST", path, {"metadata": {"name": "p"}, **target})).status == 409
    assert (await rest.call("POST", path, {"metadata": {"name": "other"}, **target})).status == 404
    assert (await rest.call("POST", path, target)).status == 400


async def test_nothing_of_it_is_stored_or_read(rest: RestClient, api: ApiInMemory) -> None:
    before = api.store.revision
    await ask(rest, f"{AUTHORIZATION}/selfsubjectaccessreviews", {"resourceAttributes": PODS})
    assert api.store.revision == before
    assert (await rest.get(f"{AUTHORIZATION}/selfsubjectaccessreviews")).status == 405


async def test_there_is_no_table_of_it(rest: RestClient) -> None:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    answer = await rest.call("POST", f"{AUTHORIZATION}/selfsubjectaccessreviews", {"spec": {"resourceAttributes": PODS}}, accept=accept)
    words = "the resource selfsubjectaccessreviews.authorization.k8s.io does not support being converted to a Table"
    assert (answer.status, answer.json["reason"], answer.json["message"]) == (406, "NotAcceptable", words)
    table = (await rest.get("/api/v1/componentstatuses", accept=accept)).json
    assert [row["cells"] for row in table["rows"]] == [["etcd-0", "Healthy", "ok", ""]]


async def test_the_typed_client_asks_too(api: ApiInMemory) -> None:
    review = authorization.SelfSubjectAccessReview()
    review.spec.resource_attributes.verb, review.spec.resource_attributes.resource = "get", "pods"
    assert (await api.client().create(review)).status.allowed
    with pytest.raises(StatusError):
        await api.client().create(authorization.SelfSubjectAccessReview())
