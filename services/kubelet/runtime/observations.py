"""The observed state that every runtime keeps: pods by uid, changed in one place, told to listeners."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from services.kubelet.runtime.plan import Limits, PodRef
from services.kubelet.runtime.port import Container, PodObservation, Sandbox

log = logging.getLogger(__name__)


class Observations:
    """Immutable observations by pod uid."""

    def __init__(self) -> None:
        self._pods: dict[str, PodObservation] = {}
        # The same by the engine's ids: a list asks for each of them.
        self._parts: dict[str, tuple[PodRef, Sandbox | Container]] = {}
        self._listeners: list[Callable[[str], None]] = []

    @property
    def pods(self) -> Mapping[str, PodObservation]:
        return self._pods

    def get(self, uid: str) -> PodObservation | None:
        return self._pods.get(uid)

    def on_change(self, callback: Callable[[str], None]) -> None:
        self._listeners.append(callback)

    def tell(self, uid: str) -> None:
        """Tells the listeners; one that raises is logged."""
        for listener in self._listeners:
            try:
                listener(uid)
            except Exception:
                log.exception("listener failed", extra={"uid": uid})

    def put_sandbox(self, sandbox: Sandbox) -> None:
        pod = self._pods.get(sandbox.pod.uid) or PodObservation(sandbox.pod)
        others = tuple(found for found in pod.sandboxes if found.id != sandbox.id)
        self._set(replace(pod, sandboxes=(*others, sandbox)))

    def put_container(self, ref: PodRef, container: Container) -> None:
        pod = self._pods.get(ref.uid) or PodObservation(ref)
        others = tuple(found for found in pod.containers if found.id != container.id)
        self._set(replace(pod, containers=(*others, container)))

    def put_limits(self, ref: PodRef, container_id: str, limits: Limits) -> None:
        """One that is known may use so much by now; what cannot be changed so stays as it was."""
        known = self.container(container_id)
        if known is not None:
            kept = known.limits or limits
            self.put_container(ref, replace(known, limits=replace(limits, oom_score_adj=kept.oom_score_adj, cpuset=kept.cpuset)))

    def put_pinned(self, ref: PodRef, container_id: str, cpuset: str) -> None:
        """One that is known runs on other processors by now."""
        known = self.container(container_id)
        if known is not None and known.limits is not None:
            self.put_container(ref, replace(known, limits=replace(known.limits, cpuset=cpuset)))

    def remove(self, uid: str, engine_id: str) -> None:
        """Forgets a sandbox or container."""
        pod = self._pods.get(uid)
        if pod is not None:
            sandboxes = tuple(found for found in pod.sandboxes if found.id != engine_id)
            self._set(replace(pod, sandboxes=sandboxes, containers=tuple(c for c in pod.containers if c.id != engine_id)))

    def find(self, engine_id: str) -> tuple[PodRef, Sandbox | Container] | None:
        """Whose a sandbox or container id is."""
        return self._parts.get(engine_id)

    def container(self, container_id: str) -> Container | None:
        """None where it is not known, or a sandbox."""
        found = self.find(container_id)
        return found[1] if found is not None and isinstance(found[1], Container) else None

    def _set(self, pod: PodObservation) -> None:
        old = self._pods.get(pod.ref.uid)
        if pod == old:
            return
        for part in old.parts if old is not None else ():
            self._parts.pop(part.id, None)
        self._parts |= {part.id: (pod.ref, part) for part in pod.parts}
        if pod.empty:
            self._pods.pop(pod.ref.uid, None)
        else:
            self._pods[pod.ref.uid] = pod
        self.tell(pod.ref.uid)
