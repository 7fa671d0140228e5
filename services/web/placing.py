"""Why a pod is where it is, or nowhere: what the scheduler answers, as JSON."""

from __future__ import annotations

from typing import Any

from knarr.service.late import loaded
from services.web.parts import Parts

EXPLAIN = "/knarr.api.scheduler.v1.SchedulerService/Explain"


async def placing(parts: Parts, namespace: str, name: str) -> Any:
    """An ExplainResponse in protobuf's JSON, with fields that have no value, too. Raises Unanswered."""
    messages, form = await loaded("knarr.api.scheduler.v1.explain_pb2"), await loaded("google.protobuf.json_format")
    asked = messages.ExplainRequest(namespace=namespace, pod=name)
    answer = await parts.ask("scheduler", EXPLAIN, asked, messages.ExplainResponse)
    return form.MessageToDict(answer, always_print_fields_with_no_presence=True)
