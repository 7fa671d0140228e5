"""What is counted of the audit log, by Kubernetes' names."""

from __future__ import annotations

from knarr.service.tally import Counts

EVENTS = Counts("apiserver_audit_event_total", "Audit events generated and sent to the audit backend", ["plugin"])
ERRORS = Counts("apiserver_audit_error_total", "Audit events that were not kept: the backend failed, or did not keep up", ["plugin"])
LEVELS = Counts("apiserver_audit_level_total", "Requests by the level that the audit policy has for them", ["level"])
