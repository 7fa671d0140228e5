"""Which images a node gives up, and that it gives up none that somebody may miss."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.images import full_name
from services.kubelet.eviction import images
from services.kubelet.eviction.images import used_images, with_other_names
from services.kubelet.eviction.signals import GivenSignals
from services.kubelet.node.image_garbage import ImageLedger, Known, PulledImages, bytes_to_free, to_remove, too_old
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.port import LocalImage, RuntimeFailure
from services.kubelet.thresholds import GarbageRules
from tests.kubelet.support import make_pod, running

NOW = datetime(2030, 1, 1, tzinfo=UTC)
RULES = GarbageRules()


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("available", "needed"),
    [(16, 0), (15, 5), (10, 10), (0, 20), (100, 0)],
)
def test_how_much_is_given_up(available: int, needed: int) -> None:
    assert bytes_to_free(RULES, available, 100) == needed
    assert bytes_to_free(GarbageRules(100), available, 100) == bytes_to_free(RULES, 0, 0) == 0


def test_who_was_used_longest_ago_goes_first_and_what_came_lately_stays() -> None:
    known = {
        "new": Known(ago(1)),
        "never": Known(ago(10)),
        "lately": Known(ago(60), ago(5)),
        "long ago": Known(ago(90), ago(80)),
        "used": Known(ago(100), NOW),
    }
    sizes = dict.fromkeys(known, 10)
    assert to_remove(RULES, known, sizes, {"used"}, NOW, None) == ["long ago", "never", "lately"]
    assert to_remove(RULES, known, sizes, {"used"}, NOW, 11) == ["long ago", "never"]
    assert to_remove(RULES, known, sizes, {"used"}, NOW, 0) == []


# How long the making of examples takes says how busy the machine is.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.tuples(st.integers(0, 300), st.integers(1, 100)), max_size=8),
    st.sets(st.text("abcdef", min_size=1, max_size=3)),
    st.integers(0, 400),
)
def test_no_more_than_needed_and_never_what_is_used(told: dict[str, tuple[int, int]], used: set[str], needed: int) -> None:
    known = {name: Known(ago(age)) for name, (age, _) in told.items()}
    sizes = {name: size for name, (_, size) in told.items()}
    chosen = to_remove(RULES, known, sizes, used, NOW, needed)
    assert not used & set(chosen)
    assert all(NOW - known[name].since >= RULES.minimum_age for name in chosen)
    assert sum(sizes[name] for name in chosen[:-1]) < max(needed, 1), "one less would not do"


def test_old_ones_go_where_an_age_is_said() -> None:
    known = {"old": Known(ago(100), ago(70)), "idle": Known(ago(65)), "used": Known(ago(900), ago(900))}
    assert too_old(RULES, known, (), NOW) == []
    assert too_old(GarbageRules(maximum_unused=timedelta(hours=1)), known, {"used"}, NOW) == ["old", "idle"]


def test_the_ledger_remembers_uses_and_forgets_what_is_gone() -> None:
    ledger = ImageLedger()
    ledger.look(["a", "b"], {"a"}, ago(10))
    ledger.look(["a", "b", "c"], {"b"}, ago(5))
    assert ledger.known == {"a": Known(ago(10), ago(10)), "b": Known(ago(10), ago(5)), "c": Known(ago(5))}
    ledger.look(["b"], (), NOW)
    assert ledger.known == {"b": Known(ago(10), ago(5))}
    ledger.look(["b"], (), ago(20))
    assert ledger.known == {"b": Known(ago(20), ago(20))}, "the clock was set back"


def test_what_was_fetched_is_remembered(tmp_path: Path) -> None:
    one = PulledImages(tmp_path)
    one.add("web:1")
    one.add("db:1")
    one.discard("web:1")
    other = PulledImages(tmp_path)
    other.read()
    assert other.names == {"docker.io/library/db:1"}
    (tmp_path / "pulled-images.json").write_text('{"a')
    other = PulledImages(tmp_path)
    other.read()
    assert other.names == set()
    PulledImages(tmp_path / "nowhere").add("a")


def test_images_of_containers_pods_and_volumes_are_used() -> None:
    pod = make_pod()
    pod.spec.init_containers.add(name="i", image="init")
    pod.spec.volumes.add(name="v").volume_source.image.reference = "data:2"
    pod.spec.volumes.add(name="w").volume_source.empty_dir.SetInParent()
    assert used_images([pod], []) == {f"docker.io/library/{name}" for name in ("app:1", "init:latest", "data:2")}


def test_an_image_that_is_used_by_one_of_its_names_is_used_by_all() -> None:
    present = [LocalImage(("r.io/a@sha256:1", "r.io/a:1", "b:1"), 1), LocalImage(("r.io/c:1", "r.io/d:1"), 1)]
    found = with_other_names({"docker.io/library/b:1", "r.io/gone:1"}, present)
    assert found == {"r.io/gone:1", "r.io/a@sha256:1", "r.io/a:1", "docker.io/library/b:1"}


@pytest.mark.parametrize(
    ("reference", "full"),
    [
        ("web", "docker.io/library/web:latest"),
        ("docker.io/web:1", "docker.io/library/web:1"),
        ("docker.io/library/web:1", "docker.io/library/web:1"),
        ("me/web:1", "docker.io/me/web:1"),
        ("localhost:5000/web:1", "localhost:5000/web:1"),
        ("r.io/web@sha256:1", "r.io/web@sha256:1"),
    ],
)
def test_one_name_however_it_is_spelled(reference: str, full: str) -> None:
    assert full_name(reference) == full_name(full) == full


class SizedRuntime(HollowRuntime):
    """One with images of a megabyte, of which ``stuck`` is used by somebody else."""

    async def images(self) -> list[LocalImage]:
        return [LocalImage((name,), 1 << 20) for name in sorted({*self.pulled, "built:here"})]

    async def remove_image(self, reference: str) -> None:
        if reference == "stuck:1":
            raise RuntimeFailure("conflict: unable to remove repository reference")
        await super().remove_image(reference)


async def test_only_what_the_kubelet_fetched_and_nobody_uses_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "PERIOD_SECONDS", 0.02)
    runtime = SizedRuntime("10.244.0.0/24")
    rules = GarbageRules(minimum_age=timedelta())
    async with running(runtime, tmp_path, image_garbage=rules) as cluster:
        for name in ("used", "done", "stuck"):
            pod = make_pod(name)
            pod.spec.containers[0].image, pod.spec.containers[0].image_pull_policy = f"{name}:1", "Always"
            await cluster.client.create(pod)
            await cluster.ready(name)
        for name in ("done", "stuck"):
            await cluster.client.delete(core.Pod, name, "default", grace_period_seconds=0)
        await cluster.until(lambda: len(cluster.kubelet.manager.workers) == 1)
        assert "done:1" in runtime.pulled, "while there is room nothing goes"
        signals = cluster.kubelet.signals
        assert isinstance(signals, GivenSignals)
        signals.give("imagefs.available", 10 << 20, 100 << 20)
        await cluster.until(lambda: "done:1" not in runtime.pulled)
        await cluster.until(lambda: bool(cluster.events("FreeDiskSpaceFailed")))
        assert set(runtime.pulled) == {"used:1", "stuck:1"}
        assert "Attempted to free 10485760 bytes" in cluster.events("FreeDiskSpaceFailed")[0]
