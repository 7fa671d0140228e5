"""What is known of a node's pods, by pod and by the engine's ids."""

from __future__ import annotations

from dataclasses import replace

from services.kubelet.runtime.observations import Observations
from services.kubelet.runtime.plan import PodRef
from services.kubelet.runtime.port import CREATED, RUNNING, Container, Sandbox

WEB, OTHER = PodRef("default", "web", "uid-1"), PodRef("default", "other", "uid-2")


def test_what_is_there_is_found_by_its_id_as_it_was_seen_last() -> None:
    seen = Observations()
    sandbox, app = Sandbox("sandbox", WEB, 0, True), Container("app", "app", 0, CREATED)
    seen.put_sandbox(sandbox)
    seen.put_container(WEB, app)
    seen.put_container(OTHER, Container("another", "app", 0, RUNNING))
    seen.put_container(WEB, replace(app, state=RUNNING))
    assert seen.find("sandbox") == (WEB, sandbox) and seen.container("sandbox") is None
    assert seen.find("app") == (WEB, replace(app, state=RUNNING)) and seen.container("app") == replace(app, state=RUNNING)
    seen.remove(WEB.uid, "app")
    assert seen.find("app") is None and seen.container("app") is None and seen.find("sandbox") == (WEB, sandbox)
    seen.remove(WEB.uid, "sandbox")
    seen.remove(WEB.uid, "sandbox")
    assert seen.get(WEB.uid) is None and seen.find("sandbox") is None
    assert seen.container("another") is not None
