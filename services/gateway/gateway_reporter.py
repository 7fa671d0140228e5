"""What the objects of Gateway API are told in their status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from knarr.client.client import Client
from knarr.client.clock import Clock
from services.gateway.gateway_api import GatewayApi
from services.gateway.reports import Reports, is_address
from services.gateway.routing.table import Origin
from services.gateway.sources.gateway_api.gateways import address_problem, undone
from services.gateway.sources.gateway_api.listeners import Listener
from services.gateway.sources.gateway_api.objects import CONTROLLER, GATEWAY, GROUP, ROUTES, Condition, Json, record, records, text

FEATURES = (
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "GRPCRouteRequestHeaderModifier",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayHTTPListenerIsolation",
    "GatewayPort8080",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendRequestRedirect",
    "HTTPRouteBackendTimeout",
    "HTTPRouteBackendURLRewrite",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "ReferenceGrant",
    "TLSRoute",
)


class GatewayReporter:
    """``look`` at some that changed; ``run`` writes. ``addresses`` are where a Gateway is reached; ``problem`` says why nothing of it
    is in force, ``refused`` why a route cannot be put in force."""

    def __init__(
        self,
        client: Client,
        api: GatewayApi,
        clock: Clock,
        addresses: Callable[[Origin], Sequence[str]],
        problem: Callable[[Origin], str],
        refused: Callable[[Origin], str],
    ) -> None:
        self._client, self._api, self._clock, self._addresses, self._problem = client, api, clock, addresses, problem
        self._refused = refused
        self._reports = Reports()

    def look(self, origins: Iterable[Origin]) -> None:
        """Gateways count the routes of their listeners, so they are looked at with every route."""
        found = [origin for origin in origins if origin.kind in ROUTES]
        gateways = list(self._api.listeners) if found else []
        wanted = [*found, *gateways, *(origin for origin in origins if origin.kind == GATEWAY)]
        classes = [Origin("GatewayClass", "", each.metadata.name) for each in self._api.classes()]
        self._reports.ask([*classes, *wanted])

    async def run(self) -> None:
        await self._reports.run(self._report)

    async def _report(self, origin: Origin) -> None:
        found = self._api.object(origin)
        if found is None:
            return
        before = record(found.content, "status")
        now = self._clock.now()
        status: dict[str, Any] | None
        match origin.kind:
            case "GatewayClass":
                status = self._class(found, before, now)
            case "Gateway":
                status = self._gateway(origin, found, before, now)
            case _:
                status = self._route(origin, found, before, now)
        if status is not None and any(before.get(name) != value for name, value in status.items()):
            patch = {"metadata": {"resourceVersion": found.metadata.resource_version}, "status": status}
            await self._client.patch(type(found), origin.name, origin.namespace, patch=patch, subresource="status")

    def _class(self, found: Any, before: Json, now: datetime) -> dict[str, Any]:
        accepted = [Condition("Accepted", True, "Accepted", "served by Knarr's gateway")]
        return {
            "conditions": written(accepted, records(before, "conditions"), found.metadata.generation, now),
            "supportedFeatures": [{"name": name} for name in FEATURES],
        }

    def _gateway(self, origin: Origin, found: Any, before: Json, now: datetime) -> dict[str, Any] | None:
        listeners = self._api.listeners.get(origin)
        if listeners is None:
            return None
        addresses = self._addresses(origin)
        whole = self._api.problems.get(origin) or address_problem(found, addresses)
        wanted = self._conditions(listeners, addresses, whole, self._problem(origin))
        if words := undone(found):
            wanted = [
                replace(each, message=f"{each.message}; {words}".lstrip("; ")) if each.type == "Accepted" else each for each in wanted
            ]
        counted = Counter((each.gateway, each.name) for told in self._api.told.values() for each in told.attached)
        earlier = {text(each, "name"): each for each in records(before, "listeners")}
        return {
            "addresses": [{"type": "IPAddress" if is_address(each) else "Hostname", "value": each} for each in addresses],
            "conditions": written(wanted, records(before, "conditions"), found.metadata.generation, now),
            "listeners": [
                {
                    "name": each.name,
                    "supportedKinds": [{"group": GROUP, "kind": kind} for kind in each.kinds],
                    "attachedRoutes": counted[origin, each.name],
                    "conditions": written(
                        each.conditions(), records(earlier.get(each.name, {}), "conditions"), found.metadata.generation, now
                    ),
                }
                for each in listeners
            ],
        }

    def _conditions(
        self, listeners: Sequence[Listener], addresses: Sequence[str], whole: Condition | None, problem: str
    ) -> list[Condition]:
        """Of a Gateway. ``whole``: what of it as a whole cannot be done; ``problem``: why nothing is in force."""
        bad = [each.name for each in listeners if each.problems]
        words = f"listeners {', '.join(bad)}: see their conditions" if bad else ""
        accepted = Condition("Accepted", True, "ListenersNotValid" if bad else "Accepted", words)
        if problem:
            programmed = Condition("Programmed", False, "NoResources", problem)
        elif not any(each.served and "Programmed" not in each.problems for each in listeners):
            programmed = Condition("Programmed", False, "Invalid", words)
            accepted = Condition("Accepted", False, "ListenersNotValid", words)
        elif not addresses:
            programmed = Condition("Programmed", False, "AddressNotAssigned", "no address is known yet")
        else:
            programmed = Condition("Programmed", True, "Programmed")
        if whole is not None:
            programmed = Condition("Programmed", False, whole.reason if whole.type == "Programmed" else "Invalid", whole.message)
            accepted = whole if whole.type == "Accepted" else accepted
        return [accepted, programmed]

    def _route(self, origin: Origin, found: Any, before: Json, now: datetime) -> dict[str, Any]:
        """What other controllers say stays."""
        refused = self._refused(origin)

        def judged(condition: Condition) -> Condition:
            """What cannot be put in force is not accepted, though nothing of the object itself says so."""
            if not refused or condition.type != "Accepted" or not condition.status:
                return condition
            return Condition("Accepted", False, "UnsupportedValue", refused)

        told = self._api.told.get(origin)
        parents = list(records(before, "parents"))
        ours = [each for each in parents if text(each, "controllerName") == CONTROLLER]
        made = [each for each in parents if text(each, "controllerName") != CONTROLLER]
        for reference, conditions in told.parents if told is not None else ():
            earlier = next((each for each in ours if each.get("parentRef") == reference), {})
            made.append(
                {
                    "parentRef": dict(reference),
                    "controllerName": CONTROLLER,
                    "conditions": written(map(judged, conditions), records(earlier, "conditions"), found.metadata.generation, now),
                }
            )
        return {"parents": made}


def written(wanted: Iterable[Condition], before: Iterable[Json], generation: int, now: datetime) -> list[dict[str, Any]]:
    """Conditions as JSON; the time of one changes with its status alone."""
    earlier = {text(each, "type"): each for each in before}
    made = []
    for each in wanted:
        status = "True" if each.status else "False"
        old = earlier.get(each.type, {})
        since = text(old, "lastTransitionTime") if text(old, "status") == status else ""
        made.append(
            {
                "type": each.type,
                "status": status,
                "observedGeneration": generation,
                "lastTransitionTime": since or now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "reason": each.reason,
                "message": each.message,
            }
        )
    return made
