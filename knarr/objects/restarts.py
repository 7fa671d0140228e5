"""Which containers of a pod run again once they have ended, by the exit code: the pod's policy, their own, and their rules. Pure.

Specified by Kubernetes' container restart rules: the first rule that matches decides, then the container's own policy, then the pod's.
"""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.pods import init_and_main_containers

ALWAYS, ON_FAILURE, NEVER = "Always", "OnFailure", "Never"
RESTART, RESTART_ALL = "Restart", "RestartAllContainers"


def restart_rule(container: core.Container, exit_code: int) -> str:
    """The action of the first rule that speaks of an exit code; empty: none does."""
    for rule in container.restart_policy_rules:
        if rule.HasField("exit_codes") and (exit_code in rule.exit_codes.values) == (rule.exit_codes.operator == "In"):
            return str(rule.action)
    return ""


def policy_of(container: core.Container, pod_policy: str) -> str:
    """The container's own restart policy, else that of its pod."""
    return container.restart_policy or pod_policy or ALWAYS


def runs_again(container: core.Container, pod_policy: str, exit_code: int) -> bool:
    """Whether a container that ended so is started again by itself."""
    if container.HasField("restart_policy") and restart_rule(container, exit_code) == RESTART:
        return True
    policy = policy_of(container, pod_policy)
    return policy == ALWAYS or (policy == ON_FAILURE and exit_code != 0)


def restarts_all(container: core.Container, exit_code: int) -> bool:
    """Whether the end of a container starts its whole pod anew."""
    return restart_rule(container, exit_code) == RESTART_ALL


def may_restart_all(spec: core.PodSpec) -> bool:
    """Whether some container has a rule that starts the whole pod anew."""
    return any(rule.action == RESTART_ALL for container in init_and_main_containers(spec) for rule in container.restart_policy_rules)
