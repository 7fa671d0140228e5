"""``knarr why pod``: what the scheduler says of each node for a pod, as if it were to be placed now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import grpc.aio
from google.protobuf.json_format import MessageToJson

from knarr.api.scheduler.v1 import scheduler_service_pb2 as face
from knarr.api.scheduler.v1 import scheduler_service_pb2_grpc as face_grpc
from knarr.client.channel import open_channel
from knarr.service.errors import CommandError
from services.command.reach import reached
from services.standalone.files import Files

# Extenders may be asked.
ANSWER_SECONDS = 30.0


def why(files: Files, namespace: str, pod: str, *, as_json: bool) -> int:
    """Prints the answer; 0 where a node takes the pod, 1 where none does."""
    answer = asyncio.run(_ask(files, face.ExplainRequest(namespace=namespace, pod=pod)))
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
    yield from _aligned(rows)
    yield f"{answer.scheduler_name}: {f'the best is {answer.choice}' if answer.choice else answer.summary or 'there is no node'}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()


async def _ask(files: Files, question: face.ExplainRequest) -> face.ExplainResponse:
    address, token, authority = reached(files, "scheduler")
    async with open_channel(address, authority, token) as channel:
        try:
            answer: face.ExplainResponse = await face_grpc.SchedulerServiceStub(channel).Explain(
                question, timeout=ANSWER_SECONDS, wait_for_ready=True
            )
        except grpc.aio.AioRpcError as error:
            raise CommandError(f"the scheduler at {address} does not explain it: {error.details()}") from error
    return answer
