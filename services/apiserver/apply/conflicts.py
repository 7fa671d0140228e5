"""Who stands against an apply, and over which fields, in Kubernetes' words."""

from __future__ import annotations

from knarr.machinery.errors import Cause, StatusError, status_error
from knarr.machinery.fieldsets import fields as sets
from knarr.machinery.fieldsets.managers import UPDATE, Conflicts, Manager

# So many are told one by one.
MAX_CAUSES = 100


def refusal(conflicts: Conflicts) -> StatusError:
    """Conflict, with a cause for every field."""
    found = sorted((_spoken(manager), [sets.spoken(path) for path in sets.paths(fields)]) for manager, fields in conflicts.fields.items())
    count = sum(len(paths) for _, paths in found)
    if count == 1:
        ((manager, (path,)),) = found
        text = f"1 conflict: conflict with {manager}: {path}"
    else:
        listed = (f"conflicts with {manager}:\n" + "\n".join(f"- {path}" for path in paths[:MAX_CAUSES]) for manager, paths in found)
        text = f"{count} conflicts: " + "\n".join(listed)
    causes = [Cause("FieldManagerConflict", f"conflict with {manager}", path) for manager, paths in found for path in paths]
    return status_error("Conflict", f"Apply failed with {text}", causes=causes[:MAX_CAUSES])


def _spoken(manager: Manager) -> str:
    """``"kubectl-client-side-apply" using apps/v1``."""
    text = f'"{manager.name}"'
    if manager.subresource:
        text += f' with subresource "{manager.subresource}"'
    return f"{text} using {manager.api_version}" if manager.operation == UPDATE else text
