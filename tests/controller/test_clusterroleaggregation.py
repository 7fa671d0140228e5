"""What a role that gathers others is to have."""

from __future__ import annotations

from services.controller.controllers.clusterroleaggregation.decide import decide
from tests.controller.scenarios.access import cluster_role


def test_by_name_each_rule_once_and_never_its_own() -> None:
    role = cluster_role("all", "gathered", gathers="gathered", own="get")
    others = [
        cluster_role("b", "gathered", pods="get", nodes="list"),
        cluster_role("a", "gathered", pods="get"),
        cluster_role("c", c="get"),
    ]
    rules = decide(role, [role, *others])
    assert rules is not None
    assert [(rule.resources[0], rule.verbs[0]) for rule in rules] == [("pods", "get"), ("nodes", "list")]
    del role.rules[:]
    role.rules.extend(rules)
    assert decide(role, [role, *others]) is None


def test_none_that_is_chosen_leaves_none() -> None:
    assert decide(cluster_role("all", gathers="gathered", own="get"), []) == []
    assert decide(cluster_role("all", gathers="gathered"), []) is None


def test_a_role_of_its_own_is_left_alone() -> None:
    assert decide(cluster_role("plain", "gathered", own="get"), [cluster_role("b", "gathered", pods="get")]) is None
