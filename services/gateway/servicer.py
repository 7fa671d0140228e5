"""GatewayService: what becomes of a request and why, which routes there are, and how the proxy is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import grpc

from knarr.api.gateway.v1 import gateway_service_pb2 as messages
from knarr.api.gateway.v1 import gateway_service_pb2_grpc as stubs
from services.gateway.executor import Kind
from services.gateway.explain import action_words, condition_words, result_words
from services.gateway.haproxy.words import BadWord, host, method, path
from services.gateway.instance import Instance
from services.gateway.routing.table import Origin, Request, Route, Step, entry_of, number_of, scope_of, scoped

DEFAULT_PORT = 80
MOST_PORT = 65535


class GatewayServicer(stubs.GatewayServiceServicer):
    """Answers from the component's parts."""

    def __init__(self, gateway: Instance) -> None:
        self._gateway = gateway

    async def Explain(self, request: messages.ExplainRequest, context: Any) -> messages.ExplainResponse:
        asked = await _asked(request, await self._scope(request.gateway, context), context)
        program = self._gateway.executor.program
        steps = program.table.explain(asked)
        notes = self._notes(asked, steps)
        return messages.ExplainResponse(
            steps=[messages.Step(route=self._route(step.route), taken=step.taken, reason=step.reason) for step in steps],
            result=result_words(steps, program.endpoints, passed=program.table.passes(asked.port)),
            notes=notes,
        )

    async def _scope(self, gateway: str, context: Any) -> int:
        if not gateway:
            return 0
        found = next((scope for scope, name in self._gateway.scopes.items() if name == gateway), None)
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"gateway: there is no Gateway {gateway!r} with an address of its own here")
        return found or 0

    def _notes(self, asked: Request, steps: list[Step]) -> list[str]:
        gateway = self._gateway
        found = list(gateway.problems())
        ports = gateway.executor.program.table.ports
        served = {number_of(port) for port in ports if scope_of(port) == scope_of(asked.port)}
        if number_of(asked.port) not in served:
            others = ", ".join(map(str, sorted(served)))
            found.append(
                f"no route is of port {number_of(asked.port)}" + (f": there are some of {others}" if others else ": nothing is served")
            )
        if not scope_of(asked.port) and (names := sorted(gateway.scopes[scope] for scope in {*map(scope_of, ports)} - {0})):
            found.append(f"at addresses of their own are the Gateways {', '.join(names)}: name one to ask it")
        for origin in dict.fromkeys(step.route.origin for step in steps):
            found += [f"{origin}: {words}" for _, words in gateway.problems_of(origin) or ()]
        return list(dict.fromkeys(found))

    async def GetRoutes(self, request: messages.GetRoutesRequest, context: Any) -> messages.GetRoutesResponse:
        gateway = self._gateway
        routes = gateway.executor.program.table.routes()
        return messages.GetRoutesResponse(
            routes=[self._route(route) for route in routes if request.namespace in ("", route.origin.namespace)],
            problems=self._problems(request.namespace),
        )

    def _problems(self, namespace: str) -> Iterator[messages.Problem]:
        for origin in sorted(self._gateway.follower.served):
            if namespace in ("", origin.namespace):
                for reason, words in self._gateway.problems_of(origin) or ():
                    yield _problem(origin, reason, words)

    async def GetStatus(self, request: messages.GetStatusRequest, context: Any) -> messages.GetStatusResponse:
        gateway, executor = self._gateway, self._gateway.executor
        answer = messages.GetStatusResponse(
            synced=gateway.follower.synced and executor.synced,
            process=executor.process.pid,
            leaving=[pid for pid in executor.process.pids if pid != executor.process.pid],
            listeners=self._listeners(),
            routes=len(executor.program.table),
            backends=len(executor.program.targets),
            changes=executor.changes,
            reloads=executor.reloads,
            last_change_seconds=executor.last_change_seconds,
            restarts=executor.process.restarts,
            problems=gateway.problems(),
            address=", ".join(gateway.addresses),
        )
        if (since := gateway.away_since) is not None:
            answer.stale = True
            answer.stale_since.FromDatetime(since)
        return answer

    def _listeners(self) -> Iterator[messages.Listener]:
        executor = self._gateway.executor
        for port, (kind, places) in sorted(executor.listeners.items()):
            yield messages.Listener(
                port=number_of(port),
                addresses=[f"{address}:{number}" for address, number in places],
                tls=kind is not Kind.PLAIN,
                problem=executor.closed.get(entry_of(port), ""),
                gateway=self._gateway.scopes.get(scope_of(port), ""),
            )

    def _route(self, route: Route) -> messages.Route:
        made = messages.Route(
            kind=route.origin.kind,
            namespace=route.origin.namespace,
            name=route.origin.name,
            place=route.place,
            port=number_of(route.port),
            host=route.host,
            path_type=route.match.kind.value,
            path=route.match.path or "/",
            conditions=condition_words(route.match),
            action=action_words(route.action),
            gateway=self._gateway.scopes.get(scope_of(route.port), ""),
        )
        for target, weight in route.action.shares:
            backend = made.backends.add(namespace=target.namespace, service=target.service, port=target.port, weight=weight)
            for server in self._gateway.executor.program.endpoints.get(target, ()):
                backend.endpoints.add(address=server.address, port=server.port, pod=server.pod)
        return made


def _problem(origin: Origin, reason: str, words: str) -> messages.Problem:
    return messages.Problem(kind=origin.kind, namespace=origin.namespace, name=origin.name, reason=reason, message=words)


async def _asked(request: messages.ExplainRequest, scope: int, context: Any) -> Request:
    place, _, query = (request.path or "/").partition("?")
    try:
        name = "host"
        found_host = host(request.host.partition(":")[0].rstrip(".").lower())
        name = "path"
        found_path = path(place)
        name = "method"
        found_method = method(request.method or "GET")
    except BadWord as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{name}: {error}")
    if request.port > MOST_PORT:
        await context.abort(
            grpc.StatusCode.INVALID_ARGUMENT, f"port: {request.port} is no port: give one from 1 to {MOST_PORT}, or none for 80"
        )
    headers = {key.lower(): value for key, value in request.headers.items()}
    parameters = parse_qs(query, keep_blank_values=True)
    return Request(scoped(request.port or DEFAULT_PORT, scope), found_host, found_path, found_method, headers, parameters)
