"""How a pod's resolver gets from a name to an answer: the search path, step by step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.dns.zone.records import NOERROR, SERVFAIL, Answer
from services.dns.zone.zone import Zone

NDOTS = 5


@dataclass(frozen=True, slots=True)
class Step:
    """One question on the way."""

    name: str
    answer: Answer


def search_names(name: str, namespace: str, domain: str) -> list[str]:
    """What a resolver with Kubernetes' search path and ndots:5 asks, in its order."""
    if name.endswith("."):
        return [name.rstrip(".").lower()]
    name = name.lower()
    with_path = [f"{name}.{suffix}" for suffix in (f"{namespace}.svc.{domain}", f"svc.{domain}", domain)]
    return [name, *with_path] if name.count(".") >= NDOTS else [*with_path, name]


async def resolve(
    zone: Zone, forward: Callable[[str, str], Awaitable[Answer]], name: str, kind: str, namespace: str, *, synced: bool
) -> list[Step]:
    """Asks until there are records; the last step is the answer."""
    steps: list[Step] = []
    for asked in search_names(name, namespace, zone.domain):
        step = await _ask(zone, forward, asked, kind, synced=synced)
        steps.append(step)
        if step.answer.answers or step.answer.code == SERVFAIL:
            break
    return steps


async def _ask(zone: Zone, forward: Callable[[str, str], Awaitable[Answer]], name: str, kind: str, *, synced: bool) -> Step:
    if zone.holds(name) and not synced:
        return Step(name, Answer(SERVFAIL, rule="the names of the cluster are not complete yet"))
    found = zone.lookup(name, kind)
    if found is None:
        return Step(name, await forward(name, kind))
    if not found.follow:
        return Step(name, found)
    rest = await forward(found.follow, kind)
    rule = f"{found.rule}; {rest.rule}" if rest.rule else found.rule
    return Step(
        name, Answer(rest.code, (*found.answers, *rest.answers), rest.authority, rest.additional, rule=rule, upstream=rest.upstream)
    )


def best(steps: list[Step]) -> Step:
    """The step whose answer a resolver gives: the last one, or an earlier one that at least exists."""
    last = steps[-1]
    if last.answer.answers or last.answer.code == NOERROR:
        return last
    return next((step for step in steps if step.answer.code == NOERROR), last)
