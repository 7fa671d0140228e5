"""What it costs to be careful: GET, LIST and create of the API server's own processor time, for somebody who may by his role, with
admission and an audit log, and the same where everybody may everything and nothing is looked at or kept."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from bench.api import pod
from bench.audit import BINDINGS, KINDS, Asked, alone, compared, fill, judged, logging
from bench.cluster import Server
from bench.reads import PODS
from bench.result import Result
from services.apiserver.admission.catalog import NAMES

OPEN = "--authorization-mode=AlwaysAllow", f"--disable-admission-plugins={','.join(NAMES)}"
# Pairs of servers, and how often each of a pair is asked.
PAIRS, ROUNDS = 4, 4
# How much the two lists may differ.
LIKE = 0.01
EDITOR = {
    "metadata": {"name": "editor"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "quiet"}],
}


async def guards_overhead() -> list[Result]:
    """Whoever asks is no administrator: of those nobody asks whether they may.

    Two processes of the same kind differ by up to three in a hundred, by where their memory lies: there are several pairs of them, and each
    is begun first as often as the other.
    """
    costs: dict[str, list[tuple[float, float]]] = {kind.name: [] for kind in KINDS}
    for number in range(PAIRS):
        async with _pair(guarded_first=bool(number % 2)) as sides:
            for kind in KINDS:
                costs[kind.name] += await compared(kind, *sides, ROUNDS)
    return [judged("guarded", kind, costs[kind.name], beside="without all that") for kind in KINDS]


@asynccontextmanager
async def _pair(*, guarded_first: bool) -> AsyncIterator[tuple[Asked, Asked]]:
    with tempfile.TemporaryDirectory(prefix="knarr-bench-") as folder:
        _, options = logging(Path(folder))
        async with AsyncExitStack() as stack:
            if guarded_first:
                within, guarded = await stack.enter_async_context(alone(*options))
            without, plain = await stack.enter_async_context(alone(*OPEN))
            if not guarded_first:
                within, guarded = await stack.enter_async_context(alone(*options))
            for server in (plain, guarded):
                await server.request("POST", BINDINGS, EDITOR)
            await _fill_alike(plain, guarded)
            yield (without, _as_editor(plain)), (within, _as_editor(guarded))


async def _fill_alike(plain: Server, guarded: Server) -> None:
    """Pods that have all that admission would give them: to list more bytes is not what is measured."""
    whole = await guarded.request("POST", PODS, pod("whole"))
    await guarded.request("DELETE", f"{PODS}/whole")
    await fill(plain, guarded, spec=whole["spec"])
    own, kept = [len(json.dumps(await server.request("GET", PODS))) for server in (plain, guarded)]
    if abs(own - kept) > LIKE * kept:
        raise RuntimeError(f"one server lists {own} bytes, the other {kept}")


def _as_editor(server: Server) -> Server:
    return replace(server, token="secret-of-quiet")
