"""Options of lists and watches that do not go together: told as Kubernetes tells them, and all at once."""

from __future__ import annotations

import pytest

from knarr.api.meta.v1 import meta_pb2 as meta
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.pipeline.list_options import check_list_options, check_watch_options
from tests.support.faces import RestClient

MAPS = "/api/v1/namespaces/default/configmaps"
WITH_CONTINUE = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided"
OF_A_LIST = {
    "resourceVersionMatch=Exact": "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
    "resourceVersion=0&resourceVersionMatch=Exact": (
        'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
    ),
    "resourceVersion=1&resourceVersionMatch=x": (
        'resourceVersionMatch: Unsupported value: "x": supported values: "Exact", "NotOlderThan", ""'
    ),
    "resourceVersion=1&resourceVersionMatch=Exact&continue=x": WITH_CONTINUE,
    "sendInitialEvents=true": "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
    "sendInitialEvents=false": "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
    "resourceVersion=0&resourceVersionMatch=Exact&sendInitialEvents=1": (
        '[resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0", '
        "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list]"
    ),
}
OF_A_WATCH = {
    "sendInitialEvents=true": ("resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
    "resourceVersionMatch=NotOlderThan": (
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
    ),
    "sendInitialEvents=true&resourceVersionMatch=Exact": (
        "[resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, "
        'resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"]'
    ),
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=x": WITH_CONTINUE,
}


@pytest.mark.parametrize(("query", "told"), [*OF_A_LIST.items(), *((f"watch=1&{query}", told) for query, told in OF_A_WATCH.items())])
async def test_what_does_not_go_together(query: str, told: str) -> None:
    async with ApiInMemory() as api:
        answer = await RestClient(api).get(f"{MAPS}?{query}")
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    assert answer.json["message"] == f'ListOptions.meta.k8s.io "" is invalid: {told}'
    assert answer.json["details"]["kind"] == "ListOptions"


@pytest.mark.parametrize("query", ["resourceVersionMatch=Exact", "sendInitialEvents=true", "dryRun=Some", "propagationPolicy=x"])
async def test_a_delete_of_nothing_is_refused_for_its_options_all_the_same(query: str) -> None:
    async with ApiInMemory() as api:
        answer = await RestClient(api).call("DELETE", f"{MAPS}?labelSelector=nobody=has&{query}")
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")


@pytest.mark.parametrize(
    "options",
    [
        meta.ListOptions(),
        meta.ListOptions(resource_version="5", resource_version_match="Exact"),
        meta.ListOptions(resource_version="0", resource_version_match="NotOlderThan"),
    ],
)
def test_what_a_list_may_say(options: meta.ListOptions) -> None:
    check_list_options(options)


@pytest.mark.parametrize("begins", [True, False])
def test_what_a_watch_may_say(begins: bool) -> None:
    check_watch_options(meta.ListOptions(send_initial_events=begins, resource_version_match="NotOlderThan"))
