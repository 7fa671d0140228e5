"""Those who decide, one after the other: the first who says yes or no is heard, and where none does it is no."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

from knarr.api.authorization.v1 import authorization_pb2 as authorization
from knarr.service.authentication import MASTERS, User
from services.apiserver.authorization import ALLOWED, Denied, ListsRules, Mode, Verdict, refusal
from services.apiserver.authorizers.node.authorizer import NodeAuthorizer
from services.apiserver.request import Request


@runtime_checkable
class Closing(Protocol):
    """One of those who decide that has connections."""

    async def close(self) -> None: ...


@runtime_checkable
class Recalling(Protocol):
    """One of those who decide that remembers what it has let through."""

    def recalls(self, request: Request) -> bool:
        """Whether it would let a request through, by what it remembers alone. Tells the audit log why, where it would."""
        ...


class Chain:
    """An ``Authorizer``. Members of `system:masters` are let through before anybody is asked."""

    def __init__(self, modes: Sequence[Mode]) -> None:
        self.modes = tuple(modes)

    @property
    def modes(self) -> tuple[Mode, ...]:
        """In their order. They may be exchanged while somebody is asked."""
        return self._modes

    @modes.setter
    def modes(self, modes: tuple[Mode, ...]) -> None:
        self._modes, self._recalling = modes, _recalling(modes)

    def authorize(self, request: Request) -> Coroutine[Any, Any, None] | None:
        if MASTERS in request.user.groups or (self._recalling is not None and self._recalling.recalls(request)):
            return None
        reasons: list[str] = []
        modes = self._modes
        for number, mode in enumerate(modes):
            said = mode.decide(request)
            if not isinstance(said, Verdict):
                return _ask(request, modes[number + 1 :], said, reasons)
            if _settles(request, said, reasons):
                return None
        raise _refused(request, reasons)

    async def verdicts(self, request: Request) -> list[tuple[str, Verdict]]:
        """What each of those who are asked says, by name, up to the one who is heard."""
        if MASTERS in request.user.groups:
            return [(MASTERS, ALLOWED)]
        found: list[tuple[str, Verdict]] = []
        for mode in self.modes:
            said = mode.decide(request)
            verdict = said if isinstance(said, Verdict) else await said
            found.append((mode.name, verdict))
            if verdict.allowed or verdict.denied:
                break
        return found

    def rules(self, user: User, namespace: str) -> authorization.SubjectRulesReviewStatus:
        """Of all who can say, taken together. What is left out of it is told."""
        found = authorization.SubjectRulesReviewStatus()
        if MASTERS in user.groups:
            found.resource_rules.add(verbs=["*"], api_groups=["*"], resources=["*"])
            found.non_resource_rules.add(verbs=["*"], non_resource_urls=["*"])
        errors: list[str] = []
        for mode in self.modes:
            if isinstance(mode, ListsRules):
                said = mode.rules(user, namespace)
                found.resource_rules.extend(said.resource_rules)
                found.non_resource_rules.extend(said.non_resource_rules)
                found.incomplete |= said.incomplete
                errors += [said.evaluation_error] if said.evaluation_error else []
            else:
                found.incomplete = True
                errors.append(f"{mode.name} decides on each request, and lists no rules")
        found.evaluation_error = ", ".join(errors)
        return found


def _recalling(modes: Sequence[Mode]) -> Recalling | None:
    """Whom to ask first, of most requests the only one: none of those before it may say no."""
    for mode in modes:
        if isinstance(mode, Recalling):
            return mode
        if not isinstance(mode, NodeAuthorizer):
            break
    return None


async def close(modes: Iterable[object]) -> None:
    """Lets go of the connections of those who have any."""
    for mode in modes:
        if isinstance(mode, Closing):
            await mode.close()


async def _ask(request: Request, others: Sequence[Mode], asking: Coroutine[Any, Any, Verdict], reasons: list[str]) -> None:
    """Waits for an answer, and goes on with the others."""
    if _settles(request, await asking, reasons):
        return
    for mode in others:
        said = mode.decide(request)
        if _settles(request, said if isinstance(said, Verdict) else await said, reasons):
            return
    raise _refused(request, reasons)


def _settles(request: Request, said: Verdict, reasons: list[str]) -> bool:
    """Whether somebody says yes. Raises Denied where he says no; keeps what he says else."""
    if said.allowed:
        return True
    if said.reason:
        reasons.append(said.reason)
    if said.denied:
        raise Denied(refusal(request, said.reason).status)
    return False


def _refused(request: Request, reasons: Sequence[str]) -> Exception:
    return refusal(request, ", ".join(reasons))
