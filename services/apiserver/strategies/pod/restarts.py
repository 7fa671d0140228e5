"""Rules about the restarts of one container: its own policy, and what its exit codes mean."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, check_choice, required, too_many
from knarr.objects.restarts import ALWAYS, NEVER, ON_FAILURE, RESTART, RESTART_ALL

MAX_RULES, MAX_EXIT_CODES = 20, 255


def validate_restarts(container: core.Container, path: Path) -> list[Cause]:
    """``path`` is that of the container."""
    rules, here = container.restart_policy_rules, path.child("restartPolicyRules")
    if container.HasField("restart_policy"):
        causes = check_choice(path.child("restartPolicy"), container.restart_policy, (ALWAYS, NEVER, ON_FAILURE))
    else:
        causes = [required(path.child("restartPolicy"), "must specify restartPolicy when restart rules are used")] if rules else []
    if len(rules) > MAX_RULES:
        return [*causes, too_many(here, len(rules), MAX_RULES)]
    for index, rule in enumerate(rules):
        causes += _rule(rule, here.index(index))
    return causes


def _rule(rule: core.ContainerRestartRule, path: Path) -> list[Cause]:
    causes = check_choice(path.child("action"), rule.action, (RESTART, RESTART_ALL))
    codes = path.child("exitCodes")
    if not rule.HasField("exit_codes"):
        return [*causes, required(codes, "must be specified")]
    causes += check_choice(codes.child("operator"), rule.exit_codes.operator, ("In", "NotIn"))
    if len(rule.exit_codes.values) > MAX_EXIT_CODES:
        causes.append(too_many(codes.child("values"), len(rule.exit_codes.values), MAX_EXIT_CODES))
    return causes
