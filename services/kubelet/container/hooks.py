"""Lifecycle hooks of containers: postStart and preStop."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.container.probes import UnknownPort, check_of
from services.kubelet.pod.context import PodContext
from services.kubelet.runtime.port import Container, HttpCheck, RuntimeFailure, RuntimeUnavailable

log = logging.getLogger(__name__)

# A postStart hook has no deadline of its own in Kubernetes; this bounds a hanging one.
POST_START_SECONDS = 3600.0


class HookRunner:
    """Runs the hooks of one pod's containers. ``running`` names the containers whose postStart hook runs: it may be abandoned."""

    def __init__(self, context: PodContext) -> None:
        self._runtime = context.shared.runtime
        self._event = context.events.container
        self.running: set[str] = set()

    async def post_start(self, spec: core.Container, container: Container, ip: str) -> str:
        """Runs the hook; answers why it failed, or nothing. Raises RuntimeUnavailable where nobody knows whether it ran: it is then to run
        again, since a hook runs at least once, and a container that is well is not ended for an engine that is away."""
        self.running.add(spec.name)
        try:
            failure = await self._run(spec.lifecycle.post_start, spec, container, ip, POST_START_SECONDS)
        finally:
            self.running.discard(spec.name)
        if failure:
            # What it said is for the log alone: it may be a secret of the container's.
            log.warning("a postStart hook failed", extra={"container": spec.name, "error": failure})
            self._event("Warning", "FailedPostStartHook", "PostStartHook failed", spec.name)
        return failure

    async def pre_stop(self, spec: core.Container, container: Container, ip: str, grace_seconds: float) -> None:
        """Runs the hook within the grace period; a failure is told and the stop goes on."""
        try:
            failure = await self._run(spec.lifecycle.pre_stop, spec, container, ip, grace_seconds)
        except RuntimeUnavailable as error:
            failure = str(error)
        if failure:
            log.warning("a preStop hook failed", extra={"container": spec.name, "error": failure})
            self._event("Warning", "FailedPreStopHook", "PreStopHook failed", spec.name)

    async def _run(self, handler: core.LifecycleHandler, spec: core.Container, container: Container, ip: str, limit_seconds: float) -> str:
        try:
            if handler.HasField("sleep"):
                await asyncio.sleep(min(handler.sleep.seconds, limit_seconds))
                return ""
            check = check_of(handler, spec, ip)
            if isinstance(check, HttpCheck):
                check = replace(check, hook=True)
            result = await self._runtime.check(container.id, check, limit_seconds)
            return "" if result.success else result.output or "failed"
        except RuntimeUnavailable:
            raise
        except (RuntimeFailure, UnknownPort) as error:
            return str(error)
