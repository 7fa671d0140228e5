"""What it costs to be careful: GET, LIST and create of the API server's own processor time, for somebody who may by his role, with
admission and an audit log, and the same where everybody may everything and nothing is looked at or kept."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from bench.audit import BINDINGS, KINDS, alone, compared, fill, logging
from bench.cluster import Server
from bench.result import Result
from services.apiserver.admission.catalog import NAMES

OPEN = "--authorization-mode=AlwaysAllow", f"--disable-admission-plugins={','.join(NAMES)}"
EDITOR = {
    "metadata": {"name": "editor"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "quiet"}],
}


async def guards_overhead() -> list[Result]:
    """Whoever asks is no administrator: of those nobody asks whether they may."""
    with tempfile.TemporaryDirectory(prefix="knarr-bench-") as folder:
        _, options = logging(Path(folder))
        async with alone(*OPEN) as (without, plain), alone(*options) as (within, guarded):
            for server in (plain, guarded):
                await server.request("POST", BINDINGS, EDITOR)
            await fill(plain, guarded)
            sides = (without, _as_editor(plain)), (within, _as_editor(guarded))
            return [await compared("guarded", kind, *sides, beside="without all that") for kind in KINDS]


def _as_editor(server: Server) -> Server:
    return replace(server, token="secret-of-quiet")
