"""Whether a caller may make a call of a component: the component asks the API server by a SubjectAccessReview, and remembers the answer for
a while, as Kubernetes' components do.

Health may be asked by anybody, and reflection by everybody who is known: they say what is in the source. Members of `system:masters` are
let through without being asked about, so that an administrator can look at a component whose API server is away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from knarr.api.authorization.v1 import authorization_pb2 as authorization
from knarr.client.client import Client
from knarr.machinery.errors import status_error
from knarr.service.answers import Answers
from knarr.service.authentication import MASTERS, User
from knarr.service.reviews import reviewed
from knarr.service.tasks import SharedTasks

# How long an answer holds, either way.
REMEMBERED_SECONDS = 10.0
# Callers and calls that are remembered, and what they may take each: of a caller there may be many groups.
REMEMBERED, REMEMBERED_LETTERS = 1024, 4096
# What every caller may who is known.
FOR_ALL = ("/grpc.reflection.",)
# By what a call begins that only looks.
LOOKING = ("Get", "List", "Explain", "Resolve", "WhatIf")


@dataclass(frozen=True, slots=True)
class Right:
    """What is to be permitted: a verb on a path that is no resource, or on a (sub-)resource of the core group."""

    verb: str
    path: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""


def right_of(method: str) -> Right:
    """What a call of any component needs unless it says otherwise: `get`, or `post` where the call does something, on the path that gRPC
    has for it, like `/knarr.api.scheduler.v1.SchedulerService/Explain`."""
    return Right("get" if method.rpartition("/")[2].startswith(LOOKING) else "post", path=method)


# Says whether a user may make a call; raises Forbidden, ServiceUnavailable.
Access = Callable[[User, str], Awaitable[None]]


async def anybody(user: User, method: str) -> None:
    """Of a server that asks with each call what its caller may do."""


class ReviewedAccess:
    """An ``Access`` by what the API server says."""

    def __init__(self, client: Client, right: Callable[[str], Right] = right_of) -> None:
        """``client`` is one that may create SubjectAccessReviews; ``right`` says what a call needs."""
        self._client, self._right = client, right
        # Why it is refused, or nothing; and what is being asked.
        self._known: Answers[tuple[User, Right], str] = Answers(REMEMBERED)
        self._asking: SharedTasks[tuple[User, Right], str] = SharedTasks()

    async def __call__(self, user: User, method: str) -> None:
        if not method.startswith(FOR_ALL) and (refusal := await self.refusal(user, self._right(method))):
            raise status_error("Forbidden", refusal)

    async def refusal(self, user: User, right: Right) -> str:
        """Why a user has no such right; empty where he has it. Raises ServiceUnavailable."""
        if MASTERS in user.groups:
            return ""
        key = user, right
        known = self._known.get(key)
        return known if known is not None else await self._asking.result(key, lambda: self._ask(user, right), "access review")

    async def _ask(self, user: User, right: Right) -> str:
        refusal = await self._review(user, right)
        if _letters(user) <= REMEMBERED_LETTERS:
            self._known.learn((user, right), refusal, REMEMBERED_SECONDS)
        return refusal

    async def _review(self, user: User, right: Right) -> str:
        """Why it is refused; empty where it is not."""
        review = authorization.SubjectAccessReview()
        spec = review.spec
        spec.user, spec.uid = user.name, user.uid
        spec.groups.extend(user.groups)
        for key, values in user.extra:
            spec.extra[key].items.extend(values)
        if right.path:
            spec.non_resource_attributes.path, spec.non_resource_attributes.verb = right.path, right.verb
        else:
            about = spec.resource_attributes
            about.verb, about.resource, about.subresource, about.name = right.verb, right.resource, right.subresource, right.name
        status = (await reviewed(self._client, review, f"whether {user.name} may do this")).status
        return "" if status.allowed else status.reason or f'forbidden: User "{user.name}" may not do this'


def _letters(user: User) -> int:
    return len(user.name) + len(user.uid) + sum(map(len, user.groups)) + sum(len(value) for _, values in user.extra for value in values)
