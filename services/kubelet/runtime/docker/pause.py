"""The sandbox's image in the engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from urllib.parse import quote

from services.kubelet.runtime.docker.engine import Engine, EngineNotFound, quoted
from services.kubelet.runtime.pause import PAUSE_IMAGE, REPOSITORY, TAG, pause_archive, pause_program


async def ensure_pause_image(engine: Engine, labels: Mapping[str, str]) -> None:
    """Imports the image unless it is there. Raises RuntimeFailure that says what to install."""
    with contextlib.suppress(EngineNotFound):
        await engine.request("GET", f"images/{quoted(PAUSE_IMAGE)}/json")
        return
    program, command = await asyncio.to_thread(pause_program)
    archive = pause_archive(program)
    changes = [f"LABEL {key}={value}" for key, value in labels.items()]
    parameters = [("fromSrc", "-"), ("repo", REPOSITORY), ("tag", TAG), ("changes", f"CMD {json.dumps(command)}")]
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in [*parameters, *(("changes", change) for change in changes)])
    await engine.request("POST", f"images/create?{query}", data=archive, headers={"Content-Type": "application/x-tar"})
