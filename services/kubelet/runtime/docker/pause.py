"""The sandbox's image in the engine."""

from __future__ import annotations

import asyncio
import contextlib
import json

from services.kubelet.runtime.docker.engine import Engine, EngineNotFound, quoted
from services.kubelet.runtime.pause import PAUSE_IMAGE, REPOSITORY, TAG, pause_archive, pause_program


async def ensure_pause_image(engine: Engine) -> None:
    """Imports the image unless it is there. Raises RuntimeFailure that says what to install."""
    with contextlib.suppress(EngineNotFound):
        await engine.request("GET", f"images/{quoted(PAUSE_IMAGE)}/json")
        return
    program, command = await asyncio.to_thread(pause_program)
    archive = pause_archive(program)
    params = {"fromSrc": "-", "repo": REPOSITORY, "tag": TAG, "changes": f"CMD {json.dumps(command)}"}
    await engine.request("POST", "images/create", params=params, data=archive, headers={"Content-Type": "application/x-tar"})
