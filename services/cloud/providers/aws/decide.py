"""From what is there to what should be: the steps, in an order that keeps traffic flowing. Pure.

First everything new is made and opened, then listeners turn to it, then what is no longer wanted is removed, users before what they use.
Any step may be the last one before a crash: what is left is observed again, and the rest follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from services.cloud.providers.aws.model import (
    HealthCheck,
    Observed,
    ObservedBalancer,
    ObservedGroup,
    ObservedSecurityGroup,
    Opening,
    TargetGroup,
    Wish,
)
from services.cloud.providers.aws.options import IDLE_TIMEOUT_SECONDS
from services.cloud.providers.aws.steps import (
    OWN_GROUP,
    AddTags,
    CloseGroup,
    CreateListener,
    CreateLoadBalancer,
    CreateSecurityGroup,
    CreateTargetGroup,
    DeleteListener,
    DeleteLoadBalancer,
    DeleteSecurityGroup,
    DeleteTargetGroup,
    DeregisterTargets,
    ModifyListener,
    OpenGroup,
    RegisterTargets,
    SetAttributes,
    SetHealthCheck,
    SetIdleTimeout,
    SetSecurityGroups,
    SetSubnets,
    SetTargetGroupAttributes,
    Step,
)
from services.cloud.providers.aws.wish import ATTRIBUTES, TARGET_ATTRIBUTES


def decide_ensure(wish: Wish, observed: Observed) -> list[Step]:
    """The steps to ``wish``; none when all is as it should be."""
    if _in_another_network(wish, observed):
        return decide_delete(observed, wish.rule_description) + decide_ensure(wish, Observed())
    steps: list[Step] = []
    balancer = observed.balancer
    if balancer and balancer.scheme != wish.scheme:
        # It cannot be changed, and the name has to be free for the next one.
        steps.append(DeleteLoadBalancer())
        balancer, observed = None, replace(observed, balancer=None, listeners=())
    own = observed.security_group
    groups = wish.security_groups or (own.group_id if own else OWN_GROUP,)
    steps += _own_group(wish, own)
    steps += _open_nodes(wish, observed, groups)
    steps += _balancer(wish, balancer, groups)
    for group in wish.groups:
        steps += _group(wish, group, _observed_group(observed, group))
    steps += _listeners(wish, observed)
    steps += _remove_groups(wish, observed)
    steps += _close_nodes(wish, observed, groups)
    if own and not wish.security_groups:
        steps += _close(own.group_id, own.openings - wish.clients, "")
    elif own:
        steps.append(DeleteSecurityGroup(own.group_id))
    return steps


def differ_by_targets_only(wish: Wish, reached: Wish, observed: Observed) -> bool:
    """Whether all but the targets is as it was ``reached``, and the target groups are still there."""
    return _without_targets(wish) == _without_targets(reached) and not lacks_groups(wish, observed)


def lacks_groups(wish: Wish, observed: Observed) -> bool:
    """Whether a target group has to be made."""
    return not {group.name for group in wish.groups} <= {group.name for group in observed.groups}


def _without_targets(wish: Wish) -> Wish:
    return replace(wish, groups=tuple(replace(group, targets=frozenset()) for group in wish.groups))


def decide_targets(wish: Wish, observed: Observed) -> list[Step]:
    """The steps to ``wish`` as far as only the nodes have changed; needs balancer and groups of ``observed`` with their targets."""
    steps: list[Step] = []
    for group in wish.groups:
        found = _observed_group(observed, group)
        if found:
            steps += _targets(group, found)
    return steps


def decide_delete(observed: Observed, rule_description: str) -> list[Step]:
    """The steps that remove all that was made for a Service."""
    steps: list[Step] = []
    for group, openings in sorted(observed.node_openings.items()):
        steps += _close(group, openings, rule_description)
    if observed.balancer:
        steps.append(DeleteLoadBalancer())
    steps += [DeleteTargetGroup(group.name) for group in observed.groups]
    if observed.security_group:
        steps.append(DeleteSecurityGroup(observed.security_group.group_id))
    return steps


def _in_another_network(wish: Wish, observed: Observed) -> bool:
    things = (observed.balancer, observed.security_group, *observed.groups)
    return any(thing is not None and thing.vpc != wish.vpc for thing in things)


def _own_group(wish: Wish, own: ObservedSecurityGroup | None) -> Iterator[Step]:
    if wish.security_groups:
        return
    if own is None:
        yield CreateSecurityGroup(wish.name, wish.vpc, wish.rule_description, wish.tags)
        yield from _open(OWN_GROUP, wish.clients, "")
    else:
        yield from _open(own.group_id, wish.clients - own.openings, "")
        yield from _tags(own.group_id, wish.tags, own.tags)


def _open_nodes(wish: Wish, observed: Observed, groups: tuple[str, ...]) -> Iterator[Step]:
    wanted = _wanted_openings(wish, groups)
    for group in sorted(wish.node_groups):
        yield from _open(group, wanted - observed.node_openings.get(group, frozenset()), wish.rule_description)


def _close_nodes(wish: Wish, observed: Observed, groups: tuple[str, ...]) -> Iterator[Step]:
    wanted = _wanted_openings(wish, groups)
    for group, openings in sorted(observed.node_openings.items()):
        yield from _close(group, openings - wanted if group in wish.node_groups else openings, wish.rule_description)


def _wanted_openings(wish: Wish, groups: tuple[str, ...]) -> frozenset[Opening]:
    return frozenset(Opening(protocol, port, group) for protocol, port in wish.node_openings for group in groups)


def _balancer(wish: Wish, balancer: ObservedBalancer | None, groups: tuple[str, ...]) -> Iterator[Step]:
    if balancer is None:
        yield CreateLoadBalancer(wish.name, wish.scheme, tuple(sorted(wish.subnets.values())), groups, wish.tags)
        yield from _attributes(wish.attributes, {}, ATTRIBUTES)
        return
    # Zones are taken away only on request: a node that is being replaced must not cut the others' connections.
    subnets = {**wish.subnets, **balancer.subnets} if wish.discovered else wish.subnets
    if set(subnets.values()) != set(balancer.subnets.values()):
        yield SetSubnets(tuple(sorted(subnets.values())))
    if set(groups) != set(balancer.security_groups):
        yield SetSecurityGroups(groups)
    yield from _attributes(wish.attributes, balancer.attributes, ATTRIBUTES)
    yield from _tags(balancer.arn, wish.tags, balancer.tags)


def _attributes(wanted: Mapping[str, str], found: Mapping[str, str], defaults: Mapping[str, str]) -> Iterator[Step]:
    if changed := _changed(wanted, found, defaults):
        yield SetAttributes(changed)


def _group(wish: Wish, group: TargetGroup, found: ObservedGroup | None) -> Iterator[Step]:
    if found is None:
        yield CreateTargetGroup(group, wish.vpc, wish.tags)
    else:
        if not _same_check(group.health, found.health):
            yield SetHealthCheck(group.name, group.health)
        yield from _tags(found.arn, wish.tags, found.tags)
    if changed := _changed(group.attributes, found.attributes if found else {}, TARGET_ATTRIBUTES):
        yield SetTargetGroupAttributes(group.name, changed)
    yield from _targets(group, found)


def _targets(group: TargetGroup, found: ObservedGroup | None) -> Iterator[Step]:
    registered = found.targets if found else frozenset()
    if new := group.targets - registered:
        yield RegisterTargets(group.name, new)
    if old := registered - group.targets:
        yield DeregisterTargets(group.name, old)


def _listeners(wish: Wish, observed: Observed) -> Iterator[Step]:
    wanted = {listener.port: listener for listener in wish.listeners}
    arns = {group.name: group.arn for group in observed.groups}
    there = set()
    for found in observed.listeners:
        listener = wanted.get(found.port)
        if listener is None or found.port in there:
            yield DeleteListener(found.arn)
            continue
        if found.protocol != listener.protocol:
            # Another protocol is another listener: connections of the old one would not fit the new one.
            yield DeleteListener(found.arn)
            continue
        there.add(found.port)
        if found.group_arn != arns.get(listener.group):
            yield ModifyListener(found.arn, listener)
        if listener.idle_timeout_seconds and (found.idle_timeout_seconds or IDLE_TIMEOUT_SECONDS) != listener.idle_timeout_seconds:
            yield SetIdleTimeout(listener.port, listener.idle_timeout_seconds)
    for port, listener in sorted(wanted.items()):
        if port not in there:
            yield CreateListener(listener, wish.tags)
            if listener.idle_timeout_seconds not in (0, IDLE_TIMEOUT_SECONDS):
                yield SetIdleTimeout(port, listener.idle_timeout_seconds)


def _remove_groups(wish: Wish, observed: Observed) -> Iterator[Step]:
    kept = {group.name for group in wish.groups}
    yield from (DeleteTargetGroup(group.name) for group in observed.groups if group.name not in kept)


def _observed_group(observed: Observed, group: TargetGroup) -> ObservedGroup | None:
    return next((found for found in observed.groups if found.name == group.name), None)


def _same_check(wanted: HealthCheck, found: HealthCheck) -> bool:
    """AWS remembers path and codes of an HTTP check when it is turned into a TCP one."""
    if wanted.protocol == "TCP":
        found = replace(found, path="", success_codes="")
    return wanted == found


def _changed(wanted: Mapping[str, str], found: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in wanted.items() if found.get(key, defaults.get(key)) != value}


def _open(group: str, openings: frozenset[Opening], description: str) -> Iterator[Step]:
    if openings:
        yield OpenGroup(group, openings, description)


def _close(group: str, openings: frozenset[Opening], description: str) -> Iterator[Step]:
    if openings:
        yield CloseGroup(group, openings, description)


def _tags(thing: str, wanted: Mapping[str, str], found: Mapping[str, str]) -> Iterator[Step]:
    if new := {key: value for key, value in wanted.items() if found.get(key) != value}:
        yield AddTags(thing, new)
