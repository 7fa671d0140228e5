"""Which containers run again, by policies and exit codes."""

from __future__ import annotations

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.restarts import may_restart_all, restarts_all, runs_again


def container(policy: str | None, *rules: tuple[str, str, tuple[int, ...]]) -> core.Container:
    made = core.Container(name="app", restart_policy=policy)
    for action, operator, values in rules:
        rule = made.restart_policy_rules.add(action=action)
        rule.exit_codes.operator = operator
        rule.exit_codes.values.extend(values)
    return made


ON_42 = ("Restart", "In", (42,))
NOT_42 = ("Restart", "NotIn", (42,))
ALL_42 = ("RestartAllContainers", "In", (42,))


@pytest.mark.parametrize(
    ("pod", "own", "rules", "again"),
    [
        # The pod's policy, where the container has none: for the exit codes 0, 1 and 42.
        ("Always", None, (), (True, True, True)),
        ("OnFailure", None, (), (False, True, True)),
        ("Never", None, (), (False, False, False)),
        ("", None, (), (True, True, True)),
        # Its own beats the pod's.
        ("Always", "Never", (), (False, False, False)),
        ("Never", "Always", (), (True, True, True)),
        ("Never", "OnFailure", (), (False, True, True)),
        # Its rules beat both, the first that matches.
        ("Never", "Never", (ON_42,), (False, False, True)),
        ("Never", "Never", (NOT_42,), (True, True, False)),
        ("Always", "Never", (("Restart", "In", (1, 42)),), (False, True, True)),
        ("Never", "Never", (ALL_42, ON_42), (False, False, False)),
        ("Never", "OnFailure", (("Restart", "In", (0,)),), (True, True, True)),
        ("Never", "Never", (("Restart", "In", ()),), (False, False, False)),
    ],
)
def test_the_table(pod: str, own: str | None, rules: tuple[tuple[str, str, tuple[int, ...]], ...], again: tuple[bool, ...]) -> None:
    spec = container(own, *rules)
    assert tuple(runs_again(spec, pod, code) for code in (0, 1, 42)) == again


def test_a_rule_may_start_the_whole_pod_anew() -> None:
    spec = container("Never", ON_42, ALL_42, ("RestartAllContainers", "In", (7,)))
    assert [restarts_all(spec, code) for code in (42, 7, 0)] == [False, True, False]
    assert may_restart_all(core.PodSpec(containers=[spec]))
    assert may_restart_all(core.PodSpec(init_containers=[spec]))
    assert not may_restart_all(core.PodSpec(containers=[container("Never", ON_42)]))
