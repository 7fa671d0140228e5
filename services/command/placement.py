"""``knarr why pod``: what the scheduler says of each node for a pod, as if it were to be placed now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from google.protobuf.json_format import MessageToJson

from knarr.api.scheduler.v1 import explain_pb2
from knarr.api.scheduler.v1 import scheduler_service_pb2_grpc as face_grpc
from services.command.output import deliver
from services.command.reach import answered
from services.command.table import aligned
from services.standalone.files import Files

# Extenders may be asked.
ANSWER_SECONDS = 30.0
SHOWN_NAMES = 5


def why(files: Files, namespace: str, pod: str, *, as_json: bool) -> int:
    """Prints the answer; 0 where a node takes the pod, 1 where none does."""
    question = explain_pb2.ExplainRequest(namespace=namespace, pod=pod)
    call = answered(files, "scheduler", lambda channel: face_grpc.SchedulerServiceStub(channel).Explain, question, ANSWER_SECONDS)
    answer: explain_pb2.ExplainResponse = asyncio.run(call)
    deliver(MessageToJson(answer) if as_json else "\n".join(told(answer)))
    return 0 if answer.choice else 1


def told(answer: explain_pb2.ExplainResponse) -> Iterator[str]:
    """A table of the nodes, the best first, with what each plugin gives or why one refuses; then what comes of it, and what would help."""
    plugins = sorted({name for verdict in answer.verdicts for name in verdict.scores})
    rows = [("NODE", "SCORE", *plugins, "REFUSED BY", "WHY")]
    for verdict in sorted(answer.verdicts, key=lambda verdict: (not verdict.fits, -verdict.total_score, verdict.node)):
        scores = [str(verdict.scores[name]) if name in verdict.scores else "-" for name in plugins]
        total = str(verdict.total_score) if verdict.fits else "-"
        rows.append((verdict.node, total, *scores, ", ".join(_refusing(verdict)) or "-", "; ".join(_reasons(verdict)) or "-"))
    yield from aligned(rows)
    yield f"{answer.scheduler_name}: {f'the best is {answer.choice}' if answer.choice else answer.summary or 'there is no node'}"
    if answer.standing:
        yield f"standing: {answer.standing}"
    yield from (f"  {words}" for words in answer.queued.awaits)
    yield from (f"remedy: {remedy.words} ({_some(remedy.nodes)})" for remedy in answer.remedies)
    if answer.HasField("eviction"):
        yield from _evicting(answer.eviction)
    if answer.eviction_reason:
        yield answer.eviction_reason


def _refusing(verdict: explain_pb2.NodeVerdict) -> Sequence[str]:
    """All filters that refuse a node; what others say comes without hindrances."""
    if verdict.fits:
        return []
    found = [one.filter for one in verdict.hindrances]
    return found if verdict.refused_by in found else [verdict.refused_by]


def _reasons(verdict: explain_pb2.NodeVerdict) -> Sequence[str]:
    """Each in numbers where there are some."""
    if verdict.fits or verdict.refused_by not in _refusing(verdict)[:1] or not verdict.hindrances:
        return verdict.reasons
    return [words for one in verdict.hindrances for words in (one.numbers or one.reasons)]


def _evicting(eviction: explain_pb2.Eviction) -> Iterator[str]:
    goes = ", ".join(f"{victim.namespace}/{victim.pod} (priority {victim.priority})" for victim in eviction.victims)
    budgets = f", against budgets: {eviction.violations}" if eviction.violations else ""
    yield f"preemption: {'' if eviction.decided else 'would make '}room on {eviction.node}{budgets}: {goes}"
    yield f"  {eviction.why}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else "")
