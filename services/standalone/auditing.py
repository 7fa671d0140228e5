"""The audit log of a one-machine cluster."""

from __future__ import annotations

from pathlib import Path

from services.apiserver.audit.auditor import Auditor
from services.apiserver.audit.default import DEFAULT_POLICY
from services.apiserver.audit.log_file import Keeping
from services.apiserver.audit.options import keeping_log
from services.apiserver.audit.reading import read_policy
from services.standalone.settings import ClusterSettings

# Of a machine that does other things too.
KEEPING = Keeping(megabytes=32, files=3)
NOWHERE = "none"


def auditor(settings: ClusterSettings) -> Auditor | None:
    """None where no log is wanted. Raises CommandError."""
    path = settings.audit_log_path or str(settings.files.audit_log)
    if path == NOWHERE:
        return None
    policy = read_policy(Path(settings.audit_policy_file)) if settings.audit_policy_file else DEFAULT_POLICY
    return keeping_log(policy, path, KEEPING)
