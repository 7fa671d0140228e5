"""Who may make which call of a component: asked of the API server, and remembered for a while."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from knarr.api.authorization.v1 import authorization_pb2 as authorization
from knarr.machinery.errors import Forbidden, ServiceUnavailable, status_error
from knarr.service.access import REMEMBERED, REMEMBERED_SECONDS, ReviewedAccess, Right, right_of
from knarr.service.authentication import MASTERS, User
from tests.support.virtual_time import virtual_time

EXPLAIN = "/knarr.api.scheduler.v1.SchedulerService/Explain"
ANN = User("ann", "7", ("dev",), (("scopes", ("a", "b")),))


class Reviewer:
    """A client that is asked for reviews alone; ``allowed`` are names of users."""

    def __init__(self, *allowed: str, seconds: float = 0.0) -> None:
        self.allowed, self.seconds = set(allowed), seconds
        self.asked: list[Any] = []
        self.error: Exception | None = None

    async def create(self, review: Any) -> Any:
        self.asked.append(review.spec)
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        answer = authorization.SubjectAccessReview()
        answer.status.allowed = review.spec.user in self.allowed
        answer.status.reason = "" if answer.status.allowed else f"not {review.spec.user}"
        return answer


def access(reviewer: Any, **more: Any) -> ReviewedAccess:
    return ReviewedAccess(reviewer, **more)


@virtual_time
async def test_it_is_asked_with_all_that_is_known_of_the_caller() -> None:
    reviewer = Reviewer("ann")
    await access(reviewer)(ANN, EXPLAIN)
    (spec,) = reviewer.asked
    assert (spec.user, spec.uid, list(spec.groups), list(spec.extra["scopes"].items)) == ("ann", "7", ["dev"], ["a", "b"])
    assert (spec.non_resource_attributes.path, spec.non_resource_attributes.verb) == (EXPLAIN, "get")
    assert not spec.HasField("resource_attributes")


@virtual_time
async def test_a_right_to_a_node() -> None:
    reviewer = Reviewer("ann")
    await access(reviewer, right=lambda method: Right("create", resource="nodes", subresource="exec", name="node-1"))(ANN, "/x/Exec")
    about = reviewer.asked[0].resource_attributes
    assert (about.verb, about.resource, about.subresource, about.name) == ("create", "nodes", "exec", "node-1")


@virtual_time
async def test_a_refusal_says_what_the_api_server_says() -> None:
    with pytest.raises(Forbidden, match="not bob"):
        await access(Reviewer("ann"))(User("bob"), EXPLAIN)


@virtual_time
async def test_answers_of_either_kind_hold_for_a_while() -> None:
    reviewer = Reviewer("ann")
    found = access(reviewer)
    for _ in range(3):
        await found(ANN, EXPLAIN)
        with pytest.raises(Forbidden):
            await found(User("bob"), EXPLAIN)
    assert len(reviewer.asked) == 2
    reviewer.allowed = {"bob"}
    await asyncio.sleep(REMEMBERED_SECONDS)
    await found(User("bob"), EXPLAIN)
    with pytest.raises(Forbidden):
        await found(ANN, EXPLAIN)


@virtual_time
async def test_each_call_and_each_caller_is_one_of_its_own() -> None:
    reviewer = Reviewer("ann")
    found = access(reviewer)
    for user in (ANN, User("ann"), User("ann", groups=("ops",))):
        for method in (EXPLAIN, EXPLAIN.replace("Explain", "GetQueue")):
            await found(user, method)
    assert len(reviewer.asked) == 6


@virtual_time
async def test_many_at_once_ask_once() -> None:
    reviewer = Reviewer("ann", seconds=1.0)
    found = access(reviewer)
    calls = [asyncio.ensure_future(found(ANN, EXPLAIN)) for _ in range(100)]
    await asyncio.sleep(0.1)
    calls[0].cancel()
    await asyncio.gather(*calls[1:])
    assert len(reviewer.asked) == 1


@virtual_time
async def test_who_cannot_be_asked_about_may_not() -> None:
    reviewer = Reviewer("ann")
    reviewer.error = status_error("ServiceUnavailable", "it is away")
    found = access(reviewer)
    with pytest.raises(ServiceUnavailable, match="it is away"):
        await found(ANN, EXPLAIN)
    reviewer.error, reviewer.seconds = None, 3600.0
    with pytest.raises(ServiceUnavailable, match="does not answer"):
        await found(ANN, EXPLAIN)
    reviewer.seconds = 0.0
    await found(ANN, EXPLAIN)


@virtual_time
async def test_administrators_and_reflection_need_no_api_server() -> None:
    reviewer = Reviewer()
    found = access(reviewer)
    await found(User("root", groups=(MASTERS,)), EXPLAIN)
    await found(ANN, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    assert not reviewer.asked


@virtual_time
async def test_what_is_remembered_is_bounded() -> None:
    found = access(Reviewer(*(f"u{number}" for number in range(REMEMBERED + 50)), "many"))
    for number in range(REMEMBERED + 50):
        await found(User(f"u{number}"), EXPLAIN)
    assert len(found._known) == REMEMBERED
    before = list(found._known)
    await found(User("many", groups=tuple(f"group-{number}" for number in range(1000))), EXPLAIN)
    assert list(found._known) == before and not found._asking


@pytest.mark.parametrize(
    ("call", "verb"),
    [("Explain", "get"), ("GetStatus", "get"), ("ListNodes", "get"), ("Resolve", "get"), ("WhatIf", "get"), ("Sync", "post")],
)
def test_verbs(call: str, verb: str) -> None:
    assert right_of(f"/knarr.api.x.v1.XService/{call}") == Right(verb, path=f"/knarr.api.x.v1.XService/{call}")
