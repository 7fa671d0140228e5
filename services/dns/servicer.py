"""DnsService: what a name answers and why, and how the instance is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import dns.exception
import dns.name
import dns.rdatatype
import grpc

from knarr.api.dns.v1 import dns_service_pb2 as messages
from knarr.api.dns.v1 import dns_service_pb2_grpc as stubs
from services.dns.explain import Step, best, resolve
from services.dns.instance import Instance
from services.dns.zone.records import Record

DEFAULT_NAMESPACE = "default"
DEFAULT_TYPE = "A"


class DnsServicer(stubs.DnsServiceServicer):
    """Answers from the instance's parts."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    async def Resolve(self, request: messages.ResolveRequest, context: Any) -> messages.ResolveResponse:
        steps = await self._steps(request, context)
        found = best(steps).answer
        return messages.ResolveResponse(
            code=found.code, answers=_records(found.answers), additional=_records(found.additional), steps=map(_step, steps)
        )

    async def Explain(self, request: messages.ExplainRequest, context: Any) -> messages.ExplainResponse:
        steps = await self._steps(request, context)
        found = best(steps)
        return messages.ExplainResponse(
            steps=map(_step, steps),
            answers=_records(found.answer.answers),
            records=_records(self._instance.zone.records(found.name)),
            notes=self._instance.notes(found.name),
        )

    async def _steps(self, request: messages.ResolveRequest | messages.ExplainRequest, context: Any) -> list[Step]:
        kind = (request.type or DEFAULT_TYPE).upper()
        try:
            dns.rdatatype.from_text(kind)
        except (dns.exception.DNSException, ValueError):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"type: there is no record type {request.type!r}")
        try:
            dns.name.from_text(request.name)
        except (dns.exception.DNSException, ValueError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"name: {request.name!r} is no DNS name: {error}")
        namespace = request.namespace or DEFAULT_NAMESPACE
        if not request.name:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "name: must not be empty")
        own = self._instance
        return await resolve(own.zone, own.forwarder.resolve, request.name, kind, namespace, synced=own.responder.synced)

    async def GetStatus(self, request: messages.GetStatusRequest, context: Any) -> messages.GetStatusResponse:
        own = self._instance
        counters, forwarder, registration = own.counters, own.forwarder, own.registration
        answer = messages.GetStatusResponse(
            synced=own.responder.synced,
            api_reachable=own.heartbeat.reachable,
            names=own.zone.names,
            services=own.zone.services,
            queries={"udp": counters.udp, "tcp": counters.tcp},
            answers=counters.made,
            ready_hits=counters.ready_hits,
            cache_entries=len(forwarder.cache),
            cache_hits=forwarder.cache.hits,
            cache_misses=forwarder.cache.misses,
            upstreams=self._upstreams(),
            upstreams_left_out=forwarder.left_out,
            instances=self._instances(),
            cluster_ip=registration.cluster_ip,
            problems=own.problems(),
            domain=own.zone.domain,
        )
        if own.heartbeat.last_heard is not None:
            answer.last_heard.FromDatetime(own.heartbeat.last_heard)
        return answer

    def _upstreams(self) -> Iterator[messages.Upstream]:
        for upstream in self._instance.forwarder.upstreams:
            yield messages.Upstream(
                address=str(upstream.server),
                queries=upstream.queries,
                failures=upstream.failures,
                healthy=upstream.healthy,
                seconds=upstream.seconds,
                last_error=upstream.last_error,
            )

    def _instances(self) -> Iterator[messages.Instance]:
        registration = self._instance.registration
        for piece in registration.instances():
            yield messages.Instance(
                name=piece.metadata.name,
                address=piece.endpoints[0].addresses[0] if piece.endpoints else "",
                port=piece.ports[0].port if piece.ports else 0,
                self=piece.metadata.name == registration.name,
            )


def _records(records: Iterable[Record]) -> Iterator[messages.Record]:
    return (messages.Record(name=record.name, type=record.type, ttl_seconds=record.ttl, data=record.data) for record in records)


def _step(step: Step) -> messages.Step:
    answer = step.answer
    return messages.Step(
        name=step.name, code=answer.code, answers=len(answer.answers), rule=answer.rule, objects=answer.sources, upstream=answer.upstream
    )
