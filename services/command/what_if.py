"""``knarr whatif``: what the scheduler says would become of pods if something were otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from google.protobuf.json_format import MessageToJson

from knarr.api.scheduler.v1 import scheduler_service_pb2 as face
from knarr.api.scheduler.v1 import scheduler_service_pb2_grpc as face_grpc
from knarr.api.scheduler.v1 import what_if_pb2
from services.command.output import deliver
from services.command.reach import answered
from services.command.table import aligned
from services.standalone.files import Files

ANSWER_SECONDS = 30.0
_WORDS = {
    what_if_pb2.FATE_PLACED: "placed",
    what_if_pb2.FATE_WAITS: "waits",
    what_if_pb2.FATE_STAYS: "stays",
    what_if_pb2.FATE_GONE: "gone for good",
}


def ask(files: Files, change: dict[str, Any], *, as_json: bool) -> int:
    """Prints the answer; 1 where a pod would find no node, else 0. ``change`` is one of the fields of the request."""
    question = face.WhatIfRequest(**change)
    call = answered(files, "scheduler", lambda channel: face_grpc.SchedulerServiceStub(channel).WhatIf, question, ANSWER_SECONDS)
    answer: what_if_pb2.WhatIfResponse = asyncio.run(call)
    deliver(MessageToJson(answer) if as_json else "\n".join(told(answer)))
    return 1 if any(pod.fate == what_if_pb2.FATE_WAITS for pod in answer.pods) else 0


def told(answer: what_if_pb2.WhatIfResponse) -> Iterator[str]:
    """A table of the pods, then the budgets that are asked, then what was left out."""
    if not answer.pods:
        yield "it makes no difference to any pod"
    else:
        rows = [("NAMESPACE", "POD", "FROM", "TO", "WHAT", "WHY")]
        for pod in answer.pods:
            rows.append((pod.namespace, pod.pod, getattr(pod, "from") or "-", pod.to or "-", _WORDS[pod.fate], pod.reason or "-"))
        yield from aligned(rows)
    for budget in answer.budgets:
        enough = len(budget.pods) <= budget.allowed
        words = "" if enough else ": the others follow once those that went are ready elsewhere"
        words = ": none can be evicted" if not budget.allowed else words
        yield f"budget {budget.namespace}/{budget.name} allows {budget.allowed} of {len(budget.pods)} evictions now{words}"
    for limit in answer.limits:
        yield f"note: {limit}"
