"""What would become of pods if a node were drained, a pod deleted, or a pod asked for more: what the scheduler answers, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from knarr.service.late import loaded
from services.web.parts import Parts

WHAT_IF = "/knarr.api.scheduler.v1.SchedulerService/WhatIf"


class Unclear(ValueError):
    """A question that names nothing that can be asked; the words say what is to be named."""


async def what_if(parts: Parts, query: Mapping[str, str]) -> Any:
    """``query`` names one change: ``drain=NODE``; ``delete=NAMESPACE/POD``; ``requests=NAMESPACE/POD`` with ``container`` and an amount for
    each resource, as ``cpu=2``. Answers a WhatIfResponse in protobuf's JSON. Raises Unanswered and Unclear."""
    change = asked_for(query)
    messages, form = await loaded("knarr.api.scheduler.v1.what_if_pb2"), await loaded("google.protobuf.json_format")
    answer = await parts.ask("scheduler", WHAT_IF, messages.WhatIfThere(**change), messages.WhatIfResponse)
    return form.MessageToDict(answer, always_print_fields_with_no_presence=True)


def asked_for(query: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a WhatIfThere. Raises Unclear."""
    named = [name for name in ("drain", "delete", "requests") if query.get(name)]
    if len(named) != 1:
        raise Unclear("the query must say one of drain=NODE, delete=NAMESPACE/POD, requests=NAMESPACE/POD")
    if named == ["drain"]:
        return {"drain_node": {"node": query["drain"]}}
    namespace, slash, pod = query[named[0]].partition("/")
    if not (namespace and slash and pod):
        raise Unclear(f"{named[0]}={query[named[0]][:100]} is no NAMESPACE/POD")
    if named == ["delete"]:
        return {"delete_pod": {"namespace": namespace, "pod": pod}}
    amounts = {name: amount for name, amount in query.items() if name not in ("requests", "container")}
    if not amounts:
        raise Unclear("the query must say an amount of some resource, as cpu=2")
    return {"set_requests": {"namespace": namespace, "pod": pod, "container": query.get("container", ""), "requests": amounts}}
