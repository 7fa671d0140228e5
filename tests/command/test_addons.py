"""``knarr addon``: what is told of each, in which order things are done, and what is refused by whom."""

from __future__ import annotations

import io
import json
import socket
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from knarr.objects.built_ins import LOCAL_PATH, METRICS
from knarr.objects.local_path import PROVISIONER
from knarr.objects.volumes import DEFAULT_CLASS
from knarr.service.errors import CommandError
from services.command import main as cli
from services.command.addons import built_in, switching, waiting
from services.command.addons.addon import OFF, ON, STARTING, Place
from services.command.addons.catalog import ADDONS, named
from services.command.addons.local_path.addon import CLAIMS, CLASSES
from services.command.addons.metrics.addon import SERVED, SERVICE
from services.command.addons.registry import addon as registry
from services.command.addons.registry import image
from services.command.addons.registry.manifests import CLAIM, DEPLOYMENT, HOSTING, LABEL, NAMESPACE, NAMESPACE_PATH, PODS, pieces
from services.command.addons.waiting import wait_for
from services.command.named.slots import slot
from services.standalone.settings import ClusterSettings, Ports


class Cluster:
    """Objects by their paths; what is applied is there, in the order of ``writes``."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {SERVED: {}, CLASSES: {"items": []}}
        self.writes: list[str] = []
        self.has: set[str] = set()
        self.removed: list[str] = []

    def find(self, path: str) -> Any | None:
        if path == SERVED and built_in.is_off(self, METRICS):
            return None
        return self.objects.get(path)

    def apply(self, path: str, obj: Any, manager: str) -> Any:
        self.writes.append(f"apply {path}")
        kept = self.objects.get(path) or {}
        if path == built_in.PATH:
            # As the server does: a manager's keys are what it has applied last.
            mine = kept.get("by", {}) | {manager: obj["data"]}
            obj = {**obj, "by": mine, "data": {name: value for data in mine.values() for name, value in data.items()}}
        if path == DEPLOYMENT:
            obj = {**obj, "status": {"updatedReplicas": 1, "availableReplicas": 1}}
        self.objects[path] = obj
        return obj

    def delete(self, path: str) -> None:
        self.writes.append(f"delete {path}")
        self.objects.pop(path, None)
        for below in [other for other in self.objects if path == NAMESPACE_PATH and f"/{NAMESPACE}/" in other]:
            del self.objects[below]

    def class_is(self, name: str, provisioner: str = PROVISIONER, *, default: bool = True) -> None:
        made = {"metadata": {"name": name, "annotations": {DEFAULT_CLASS: str(default).lower()}}, "provisioner": provisioner}
        self.objects[f"{CLASSES}/{name}"] = made
        self.objects[CLASSES] = {"items": [*self.objects[CLASSES]["items"], made]}


class Engine:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def has(self, name: str) -> bool:
        return name in self._cluster.has

    def load(self, archive: Path, progress: Any) -> Sequence[str]:
        with tarfile.open(archive) as found:
            manifest = found.extractfile("manifest.json")
            assert manifest is not None
            names: list[str] = json.load(manifest)[0]["RepoTags"]
        self._cluster.has |= set(names)
        return names

    def remove(self, name: str) -> None:
        self._cluster.removed.append(name)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(registry, "_answers", lambda port: True)
    monkeypatch.setattr(registry, "_is_taken", lambda port: False)
    return Cluster()


@pytest.fixture
def place(cluster: Cluster, tmp_path: Path) -> Place:
    return Place(ClusterSettings(data_dir=tmp_path), cluster, lambda: Engine(cluster))


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that has the registry's program, linked with nothing."""
    made = tmp_path / "docker-registry"
    made.write_text("#!/bin/sh\necho docker-registry github.com/docker/distribution\n")
    made.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(image, "libraries", lambda program: [])
    return made


def said(line: str) -> None:
    """What is told meanwhile."""


def test_a_new_cluster_has_what_is_built_in(place: Place, cluster: Cluster) -> None:
    cluster.class_is(LOCAL_PATH)
    found = switching.states(place)
    assert [(addon.name, state.state) for addon, state in found] == [
        ("metrics", ON), ("registry", OFF), ("dashboard", ON), ("local-path", ON),
    ]  # fmt: skip
    assert [row[:3] for row in switching.as_rows(found)] == [
        ["NAME", "STATE", "WHERE"],
        ["metrics", "on", "built in"],
        ["registry", "off", "in pods"],
        ["dashboard", "on", "built in"],
        ["local-path", "on", "built in"],
    ]
    assert {one["name"]: one["state"] for one in switching.as_dicts(found)} == {addon.name: state.state for addon, state in found}


@pytest.mark.parametrize("addon", [addon for addon in ADDONS if addon.name != "dashboard"], ids=lambda addon: addon.name)
def test_twice_is_once(addon: Any, place: Place, cluster: Cluster, program: Path) -> None:
    cluster.class_is("other")
    for turn, state in ((addon.disable, OFF), (addon.enable, ON), (addon.disable, OFF)):
        for _ in range(2):
            turn(place, said)
            assert addon.state(place).state == state


def test_switches_do_not_undo_one_another(place: Place, cluster: Cluster) -> None:
    named("metrics").disable(place, said)
    named("local-path").disable(place, said)
    assert built_in.is_off(cluster, METRICS) and built_in.is_off(cluster, LOCAL_PATH)
    named("metrics").enable(place, said)
    assert not built_in.is_off(cluster, METRICS) and built_in.is_off(cluster, LOCAL_PATH)


def test_metrics_of_somebody_else_are_told_and_stay(place: Place, cluster: Cluster) -> None:
    cluster.objects[SERVICE] = {"spec": {"service": {"namespace": "kube-system", "name": "metrics-server"}}}
    metrics = named("metrics")
    assert metrics.state(place).words == "told by the Service kube-system/metrics-server instead"
    assert "kubectl delete apiservice" in metrics.disable(place, said)[0]
    assert f"delete {SERVICE}" not in cluster.writes


def test_the_class_is_switched_off_before_it_goes(place: Place, cluster: Cluster) -> None:
    """The API server makes it anew where it is missing and not off."""
    cluster.class_is(LOCAL_PATH)
    cluster.objects[CLAIMS] = {
        "items": [
            {"metadata": {"namespace": "a", "name": "b"}, "spec": {"storageClassName": LOCAL_PATH}, "status": {"phase": "Pending"}},
            {"metadata": {"namespace": "a", "name": "c"}, "spec": {"storageClassName": LOCAL_PATH}, "status": {"phase": "Bound"}},
        ]
    }
    lines = named("local-path").disable(place, said)
    assert cluster.writes == [f"apply {built_in.PATH}", f"delete {CLASSES}/local-path"]
    assert lines[1] == "1 claims wait for it and stay Pending: a/b"


def test_the_class_takes_the_default_from_no_other(place: Place, cluster: Cluster) -> None:
    cluster.class_is("fast", "example.org/fast")
    local_path = named("local-path")
    assert "go on to have fast" in local_path.enable(place, said)[0]
    assert cluster.objects[f"{CLASSES}/local-path"]["metadata"]["annotations"][DEFAULT_CLASS] == "false"
    assert local_path.state(place).facts == {"default": False}


def test_a_class_of_that_name_that_is_somebody_elses_stays(place: Place, cluster: Cluster) -> None:
    cluster.class_is(LOCAL_PATH, "rancher.io/local-path")
    local_path = named("local-path")
    assert local_path.state(place).words == "a class of somebody else: rancher.io/local-path"
    assert "stays" in local_path.disable(place, said)[0] and cluster.writes == []


def test_the_dashboard_is_the_command(place: Place) -> None:
    assert "`knarr ui`" in named("dashboard").enable(place, said)[0]
    with pytest.raises(CommandError, match="no part of the cluster"):
        named("dashboard").disable(place, said)


def test_a_registry_keeps_its_port_its_claim_and_its_image(
    place: Place, cluster: Cluster, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.class_is("other")
    found = named("registry")
    assert "docker push localhost:25000/app:1" in found.enable(place, said)[0]
    made = cluster.objects[DEPLOYMENT]
    assert image.is_own(found.state(place).facts["image"])
    # Its own port is taken now, people have made the claim larger, and the program has gone.
    monkeypatch.setattr(registry, "_is_taken", lambda port: True)
    monkeypatch.setattr(image, "find_program", lambda: None)
    cluster.writes.clear()
    found.enable(place, said)
    assert cluster.objects[DEPLOYMENT] == made and f"apply {CLAIM}" not in cluster.writes


def test_the_machines_program_is_packed_once(place: Place, cluster: Cluster, program: Path) -> None:
    cluster.class_is("other")
    told: list[str] = []
    for _ in range(2):
        named("registry").enable(place, told.append)
    assert told == [f"making an image of {program}"]
    program.write_text(program.read_text() + "# newer\n")
    named("registry").enable(place, told.append)
    assert len(told) == 2 and len(cluster.has) == 2


def test_a_program_of_that_name_that_is_something_else_is_none(program: Path) -> None:
    assert image.find_program() == program
    program.write_text("#!/bin/sh\necho windows registry 3.1\n")
    assert image.find_program() != program


def test_without_the_program_and_without_a_registry_the_way_out_is_told(
    place: Place, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.class_is("other")
    monkeypatch.setattr(image, "find_program", lambda: None)
    monkeypatch.setattr(registry, "READY_SECONDS", 0.0)
    monkeypatch.setattr(registry, "_answers", lambda port: False)
    waiting_for = {"reason": "ErrImagePull", "message": "no such host"}
    cluster.objects[PODS] = {"items": [{"metadata": {}, "status": {"containerStatuses": [{"state": {"waiting": waiting_for}}]}}]}
    with pytest.raises(CommandError) as caught:
        named("registry").enable(place, said)
    assert "ErrImagePull: no such host" in str(caught.value) and "apt-get install docker-registry" in str(caught.value)
    assert cluster.objects[DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]["image"] == image.UPSTREAM
    assert named("registry").state(place).state == STARTING


def test_a_registry_without_storage_is_refused_before_anything_is_made(place: Place, cluster: Cluster) -> None:
    with pytest.raises(CommandError, match="knarr addon enable local-path"):
        named("registry").enable(place, said)
    assert cluster.writes == []


def test_a_namespace_of_that_name_that_is_somebody_elses_stays(place: Place, cluster: Cluster) -> None:
    cluster.objects[NAMESPACE_PATH] = {"metadata": {"name": NAMESPACE, "labels": {}}}
    cluster.objects[HOSTING] = {"metadata": {"labels": {}}}
    with pytest.raises(CommandError, match="is none that `knarr addon` has made"):
        named("registry").disable(place, said)
    assert cluster.writes == []


def test_what_is_disabled_takes_its_image_along_and_no_other(place: Place, cluster: Cluster) -> None:
    for name, gone in ((f"{image.REPOSITORY}:abc", [f"{image.REPOSITORY}:abc"]), (image.UPSTREAM, [])):
        cluster.removed.clear()
        for piece in pieces(name, 25_000):
            cluster.apply(piece.path, piece.body, "m")
        cluster.writes.clear()
        named("registry").disable(place, said)
        assert cluster.removed == gone
        assert cluster.writes == [f"delete {HOSTING}", f"delete {NAMESPACE_PATH}"]


def test_an_interrupted_enable_takes_away_what_it_has_made(
    place: Place, cluster: Cluster, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.class_is("other")

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(registry, "wait_for", interrupted)
    monkeypatch.setattr(named("registry"), "disable", lambda place, tell: cluster.delete(NAMESPACE_PATH))
    with pytest.raises(KeyboardInterrupt):
        switching.enable(place, named("registry"), said)
    assert DEPLOYMENT not in cluster.objects
    # One that was on stays.
    for piece in pieces("x", 25_000):
        cluster.apply(piece.path, piece.body, "m")
    with pytest.raises(KeyboardInterrupt):
        switching.enable(place, named("registry"), said)
    assert DEPLOYMENT in cluster.objects


def test_what_is_bound_is_the_loopback_alone() -> None:
    (ports,) = [piece.body["spec"]["template"]["spec"]["containers"][0]["ports"] for piece in pieces("x", 7) if piece.path == DEPLOYMENT]
    assert ports == [{"containerPort": 5000, "hostPort": 7, "hostIP": "127.0.0.1"}]
    assert all(piece.body["metadata"]["labels"][LABEL] == "registry" for piece in pieces("x", 7))


@pytest.mark.parametrize(
    ("settings", "port"),
    [
        (ClusterSettings(), 25_000),
        (slot(0, Path("/a")), 25_001),
        (slot(5, Path("/a")), 25_006),
        (ClusterSettings(ports=Ports(rest=26_017)), 25_000),
    ],
)
def test_named_clusters_do_not_meet_at_a_port(settings: ClusterSettings, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_is_taken", lambda port: False)
    assert registry.free_port(settings) == port
    monkeypatch.setattr(registry, "_is_taken", lambda port: port < 25_102)
    assert registry.free_port(settings) == 25_102


def test_a_port_at_which_somebody_answers_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert registry._is_taken(server.getsockname()[1])
        port = server.getsockname()[1]
    assert not registry._is_taken(port)


def test_the_image_is_the_same_for_the_same_files() -> None:
    files = {"bin/registry": b"program", "lib/x86_64-linux-gnu/libc.so.6": b"library"}
    made = image.assembled(files)
    assert made == image.assembled(dict(reversed(files.items())))
    assert made.name != image.assembled({**files, "bin/registry": b"other"}).name
    with tarfile.open(fileobj=io.BytesIO(made.archive)) as archive:
        layer = archive.extractfile("layer.tar")
        assert layer is not None
        with tarfile.open(fileobj=io.BytesIO(layer.read())) as inside:
            names = inside.getnames()
    # A folder stands before what is in it.
    assert names.index("lib/x86_64-linux-gnu") < names.index("lib/x86_64-linux-gnu/libc.so.6")
    assert {"bin/registry", "var/lib/registry", "tmp"} <= set(names)


def test_libraries_are_those_that_the_loader_names() -> None:
    told = "\tlinux-vdso.so.1 (0x0)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n"
    assert image.libraries_of(told) == [Path("/lib/x86_64-linux-gnu/libc.so.6"), Path("/lib64/ld-linux-x86-64.so.2")]
    assert image.libraries_of("\tnot a dynamic executable\n") == []
    assert image.libraries_of("\tlibgone.so => not found\n") == []


def test_what_is_waited_for_is_told_once_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    words, seconds = iter(["a", "a", "b", "b"]), iter([0.0, 1.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr("services.command.addons.waiting.time.monotonic", lambda: next(seconds))
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.0)
    with pytest.raises(CommandError, match="waited 3 s in vain for it: b"):
        wait_for(lambda: False, "it", 3.0, meanwhile=lambda: next(words), tell=told.append)
    assert told == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["list"], 1, "start it first: `knarr up`"),
        (["enable", "registry"], 1, "start it first: `knarr up`"),
        (["enable"], 2, "Missing argument 'NAME'"),
        (["enable", "istio"], 2, "choose from metrics, registry, dashboard, local-path"),
        (["remove", "registry"], 2, "choose from list, enable, disable"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["knarr", "addon", *arguments, "--data-dir", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code and words in capsys.readouterr().err
