"""What a role or a binding that every cluster has becomes when a server starts: what is missing is added, nothing is taken away. Pure.

As in Kubernetes one whose annotation `rbac.authorization.kubernetes.io/autoupdate` is `false` stays as it is.
"""

from __future__ import annotations

from typing import Any

from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.objects.copies import copy_of
from services.apiserver.rbac.defaults import AUTOUPDATE, Binding, Role
from services.apiserver.rbac.escalation import is_held
from services.apiserver.rbac.rules import Rule


def is_kept_out(stored: Role | Binding) -> bool:
    """Whether somebody has said that he looks after it himself."""
    return stored.metadata.annotations.get(AUTOUPDATE) == "false"


def reconciled_role(stored: Any, wanted: Any) -> Any:
    """A copy of what is stored with those rules of ``wanted`` that it does not allow yet, and those selectors that it lacks. The rules of
    one that gathers others are the controller's."""
    found = _labelled(stored, wanted)
    if isinstance(wanted, rbac.ClusterRole) and wanted.HasField("aggregation_rule"):
        known = list(found.aggregation_rule.cluster_role_selectors)
        missing = [selector for selector in wanted.aggregation_rule.cluster_role_selectors if selector not in known]
        found.aggregation_rule.cluster_role_selectors.extend(missing)
        return found
    held = [Rule(said) for said in stored.rules]
    found.rules.extend(said for said in wanted.rules if not is_held(said, held))
    return found


def reconciled_binding(stored: Any, wanted: Any) -> Any:
    """A copy of what is stored with those subjects of ``wanted`` that it lacks; None where it binds another role: it is to be made anew."""
    if stored.role_ref != wanted.role_ref:
        return None
    found, known = _labelled(stored, wanted), list(stored.subjects)
    found.subjects.extend(subject for subject in wanted.subjects if subject not in known)
    return found


def _labelled(stored: Any, wanted: Any) -> Any:
    found = copy_of(stored)
    for name in ("labels", "annotations"):
        own = getattr(found.metadata, name)
        for key, value in getattr(wanted.metadata, name).items():
            if key not in own:
                own[key] = value
    return found
