"""An operator as people write them with kopf; run by test_kopf.py, not imported."""

from __future__ import annotations

from typing import Any

import kopf


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.watching.server_timeout = 60


@kopf.on.create("example.org", "v1", "things")
def created(spec: Any, patch: Any, body: Any, **_: Any) -> dict[str, Any]:
    kopf.info(body, reason="Made", message="it is made")
    patch.metadata.labels["made"] = "yes"
    return {"size": spec["size"] * 2}


@kopf.on.update("example.org", "v1", "things", field="spec.size")
def updated(old: Any, new: Any, patch: Any, **_: Any) -> None:
    patch.status["changed"] = f"{old} to {new}"


@kopf.on.delete("example.org", "v1", "things")
def deleted(logger: Any, **_: Any) -> None:
    logger.info("gone")
