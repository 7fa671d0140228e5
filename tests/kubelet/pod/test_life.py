"""Golden lives: moments of a pod's life, and what its kubelet does and tells at each, as a person reads it.

``life/<name>.input.yaml`` has pods and their moments one after the other, ``<name>.output.yaml`` what is made of them; ``pytest --rewrite``
writes the outputs anew. What was told at one moment is the status that the next begins with, as in the API. Containers, probes, hooks and
back-off hold from one moment to the next unless a moment says otherwise.

A moment: ``when`` says what happened; ``at`` is the second; ``volumes``, ``sandbox`` (ready, dead, none), ``deleted`` (grace),
``verdict``, ``gates`` (conditions of others); ``containers`` by name and attempt (``app-1``) with ``state``, ``code``, ``oom``, ``error``;
``known`` by the same names with ``ready``, ``started``, ``postStart``, ``unhealthy``, ``hookFailure``, ``message``; ``crashes`` by name how
often in a row; ``failures`` by name, reason, message and, while it is backed off, reason and message of that; null for none any more.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.machinery.times import to_time
from services.kubelet.pod.actions import Decision, KillContainer, RemoveContainers, RunPreStop
from services.kubelet.pod.decide import decide
from services.kubelet.pod.facts import Failing, PodFacts, StartFailure
from services.kubelet.pod.spec import container_hash
from services.kubelet.pod.status import pod_status
from services.kubelet.pod.view import StatusView
from services.kubelet.runtime.plan import PodRef
from services.kubelet.runtime.port import CREATED, EXITED, RUNNING, Container, PodObservation, Sandbox
from tests.support import golden

LIVES = Path(__file__).parent / "life"
BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
REF = PodRef("default", "web", "uid-1")
LATER = timedelta(days=1)


class Life:
    """A pod at one moment after the other."""

    def __init__(self, pod: dict[str, Any]) -> None:
        self._pod = codec.from_json(core.Pod, {"metadata": {"name": "web", "namespace": "default"}, "spec": pod}).message
        self._pod.metadata.uid, self._pod.metadata.generation = REF.uid, 1
        self._facts = PodFacts(BEGIN)
        self._containers: dict[str, Container] = {}
        self._sandboxes: tuple[Sandbox, ...] = ()

    def moment(self, told: dict[str, Any]) -> dict[str, Any]:
        """What is done and told at it."""
        now = BEGIN + timedelta(seconds=told.get("at", 0))
        self._take(told, now)
        observation = PodObservation(REF, self._sandboxes, tuple(self._containers.values()))
        decision = decide(self._pod, observation, self._facts, now)
        if decision.activity == "stopping" and self._facts.stopping_since is None:
            self._facts.stopping_since = now
        status = pod_status(StatusView(self._pod, observation, self._facts, now, "192.0.2.1", decision.waiting))
        self._pod.status.CopyFrom(status)
        return {"when": told["when"], "does": _done(decision), **_shown(status)}

    def _take(self, told: dict[str, Any], now: datetime) -> None:
        self._facts.volumes_ready = told.get("volumes", self._facts.volumes_ready)
        if "generation" in told:
            self._pod.metadata.generation = told["generation"]
        if "sandbox" in told:
            self._sandbox(told["sandbox"])
        for name, found in told.get("containers", {}).items():
            self._container(name, found, now)
        for name, known in told.get("known", {}).items():
            self._known(name, known)
        for name, times in told.get("crashes", {}).items():
            self._facts.crash[name] = Failing(times, now)
        for name, words in told.get("failures", {}).items():
            self._facts.failures.pop(name, None)
            if words is None:
                continue
            backoff = words[2:] or ["", ""]
            failed = now - timedelta(seconds=5 if words[2:] else 0)
            self._facts.failures[name] = StartFailure(words[0], words[1], failed, failed + LATER, *backoff)
        if "deleted" in told:
            self._pod.metadata.deletion_timestamp.CopyFrom(to_time(now))
            self._pod.metadata.deletion_grace_period_seconds = told["deleted"]
        if "verdict" in told:
            self._facts.verdict = tuple(told["verdict"])
        for kind, value in told.get("gates", {}).items():
            self._pod.status.conditions.add(type=kind, status=value)

    def _sandbox(self, state: str) -> None:
        attempt = max((sandbox.attempt for sandbox in self._sandboxes), default=-1)
        if state == "ready":
            self._sandboxes = (Sandbox(f"s{attempt + 1}", REF, attempt + 1, True, "10.244.0.2"),)
        elif state == "dead":
            self._sandboxes = tuple(replace(sandbox, ready=False) for sandbox in self._sandboxes)
        else:
            self._sandboxes = ()

    def _container(self, key: str, found: dict[str, Any] | None, now: datetime) -> None:
        if found is None:
            self._containers.pop(key, None)
            return
        name, _, attempt = key.rpartition("-")
        state, before = found.get("state", RUNNING), self._containers.get(key)
        started = before.started_at if before is not None else None if state == CREATED or "error" in found else now
        sandbox = max((one.attempt for one in self._sandboxes), default=0)
        spec_hash = container_hash(core.Container(name=name, image="app:1"))
        made = Container(key, name, int(attempt), state, "app:1", "docker://sha256:1", spec_hash, sandbox, now, started)
        if state == EXITED:
            made = replace(
                made, finished_at=now, exit_code=found.get("code", 0), sandbox_attempt=before.sandbox_attempt if before else sandbox
            )
        self._containers[key] = replace(made, oom_killed=found.get("oom", False), error=found.get("error", ""))

    def _known(self, key: str, known: dict[str, Any]) -> None:
        facts = self._facts.of(key)
        facts.ready, facts.started = known.get("ready", facts.ready), known.get("started", facts.started)
        facts.post_start_done = known.get("postStart", facts.post_start_done)
        facts.unhealthy, facts.hook_failure = known.get("unhealthy", facts.unhealthy), known.get("hookFailure", facts.hook_failure)
        facts.termination_message = known.get("message", facts.termination_message)


def _done(decision: Decision) -> list[str]:
    words = []
    for action in decision.actions:
        target = getattr(action, "spec", None) or getattr(action, "container", None)
        text = type(action).__name__ + (f" {target.name}" if target is not None else "")
        text += f"#{action.attempt}" if hasattr(action, "attempt") else ""
        if isinstance(action, KillContainer | RunPreStop):
            text += f" in {action.grace_seconds:g} s: {action.message}"
        if isinstance(action, KillContainer) and action.again:
            text += " (again)"
        if isinstance(action, RemoveContainers):
            text += f" {' '.join(found.id for found in action.containers)}"
        words.append(text)
    return words


def _shown(status: core.PodStatus) -> dict[str, Any]:
    conditions = [
        f"{found.type} {found.status}{f' {found.reason}' if found.reason else ''}{f': {found.message}' if found.message else ''}"
        for found in status.conditions
    ]
    phase = " ".join(filter(None, (status.phase, status.reason, status.message)))
    told = {"phase": phase, "conditions": conditions}
    for field, name in (
        ("init_container_statuses", "init"),
        ("container_statuses", "containers"),
        ("ephemeral_container_statuses", "ephemeral"),
    ):
        if entries := getattr(status, field):
            told[name] = [_entry(entry) for entry in entries]
    assert {found.observed_generation for found in status.conditions if found.HasField("last_transition_time")} <= {
        status.observed_generation
    }
    return told


def _entry(entry: core.ContainerStatus) -> str:
    marks = [word for word, is_set in (("started", entry.started), ("ready", entry.ready)) if is_set]
    last = f", last {_state(entry.last_state)}" if entry.HasField("last_state") else ""
    return f"{entry.name} #{entry.restart_count} {_state(entry.state)}{last}{f' [{chr(32).join(marks)}]' if marks else ''}"


def _state(state: core.ContainerState) -> str:
    if state.HasField("running"):
        return "running"
    if state.HasField("waiting"):
        return f"waiting {state.waiting.reason}{f': {state.waiting.message}' if state.waiting.message else ''}"
    ended = state.terminated
    return f"terminated {ended.reason} {ended.exit_code}{f': {ended.message}' if ended.message else ''}"


@pytest.mark.parametrize("path", sorted(LIVES.glob("*.input.yaml")), ids=lambda path: path.name.split(".")[0])
def test_a_life(path: Path) -> None:
    lives = []
    for document in yaml.safe_load_all(path.read_text()):
        life = Life(document["pod"])
        lives.append({"name": document["name"], "moments": [life.moment(told) for told in document["moments"]]})
    golden.check(path.with_name(path.name.replace(".input.", ".output.")), yaml.safe_dump_all(lives, width=200, sort_keys=False))
