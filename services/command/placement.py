"""``knarr why pod``: what the scheduler says of each node for a pod, as if it were to be placed now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from google.protobuf.json_format import MessageToJson

from knarr.api.scheduler.v1 import scheduler_service_pb2 as face
from knarr.api.scheduler.v1 import scheduler_service_pb2_grpc as face_grpc
from services.command.reach import explained
from services.command.table import aligned
from services.standalone.files import Files

# Extenders may be asked.
ANSWER_SECONDS = 30.0


def why(files: Files, namespace: str, pod: str, *, as_json: bool) -> int:
    """Prints the answer; 0 where a node takes the pod, 1 where none does."""
    question, stub = face.ExplainRequest(namespace=namespace, pod=pod), face_grpc.SchedulerServiceStub
    answer: face.ExplainResponse = asyncio.run(explained(files, "scheduler", stub, question, ANSWER_SECONDS))
    print(MessageToJson(answer) if as_json else "\n".join(told(answer)))
    return 0 if answer.choice else 1


def told(answer: face.ExplainResponse) -> Iterator[str]:
    """A table of the nodes, the best first, with what each plugin gives or why one refuses; then what comes of it."""
    plugins = sorted({name for verdict in answer.verdicts for name in verdict.scores})
    rows = [("NODE", "SCORE", *plugins, "REFUSED BY", "WHY")]
    for verdict in sorted(answer.verdicts, key=lambda verdict: (not verdict.fits, -verdict.total_score, verdict.node)):
        scores = [str(verdict.scores[name]) if name in verdict.scores else "-" for name in plugins]
        total = str(verdict.total_score) if verdict.fits else "-"
        rows.append((verdict.node, total, *scores, verdict.refused_by or "-", "; ".join(verdict.reasons) or "-"))
    yield from aligned(rows)
    yield f"{answer.scheduler_name}: {f'the best is {answer.choice}' if answer.choice else answer.summary or 'there is no node'}"
