"""knarr.yaml: its fields are the options, its mistakes are told by their place, and flags win."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from knarr.service.errors import CommandError
from services.command import main as cli
from services.command.commands import up
from services.command.named import contexts, making, place
from services.standalone import options, process
from services.standalone.cluster_file import API_VERSION, KIND, fields, port_fields, read_cluster_file, schema
from services.standalone.settings import ClusterSettings
from tests.support.cluster_client import ROOT
from tools.cluster_schema import FILE, text

HEAD = {"apiVersion": API_VERSION, "kind": KIND}


def write(folder: Path, **found: Any) -> Path:
    path = folder / "knarr.yaml"
    path.write_text(yaml.safe_dump({**HEAD, **found}))
    return path


def test_every_option_is_a_field_and_the_schema_is_as_committed() -> None:
    known = {field.option for field in (*fields().values(), *port_fields().values())}
    assert known == {name for name, _, _ in options.options()}
    assert FILE.read_text() == text(), "run python -m tools.cluster_schema"
    assert schema()["properties"]["podCIDR"]["default"] == "10.244.0.0/24"


def test_what_the_defaults_are_may_be_written() -> None:
    whole = {key: field.default for key, field in fields().items()}
    whole["ports"] = {key: field.default for key, field in port_fields().items()}
    jsonschema_rs.validate(schema(), {**HEAD, **whole})


def test_a_file_says_what_options_say(tmp_path: Path) -> None:
    found = {
        "name": "dev", "runtime": "hollow", "nodes": 3, "podCIDR": "10.1.0.0/24", "ports": {"rest": 7443, "nameserver": 0},
        "schedulerConfig": "conf/scheduler.yaml", "auditLogPath": "none", "enableAdmissionPlugins": ["A", "B"],
    }  # fmt: skip
    jsonschema_rs.validate(schema(), {**HEAD, **found})
    read = read_cluster_file(write(tmp_path, **found))
    assert read.name == "dev"
    settings = options.settings_from(tmp_path / "d", dict(read.given))
    assert (settings.runtime, settings.nodes, settings.pod_cidr) == ("hollow", 3, "10.1.0.0/24")
    assert (settings.ports.rest, settings.ports.nameserver, settings.audit_log_path) == (7443, 0, "none")
    assert settings.enable_admission_plugins == "A,B"
    # A file is moved with what lies beside it.
    assert settings.scheduler_config == str(tmp_path / "conf/scheduler.yaml")


@pytest.mark.parametrize(("cpu", "amount"), [(2, "2"), (0.5, "500m"), ("1500m", "1500m")])
def test_an_amount_may_be_written_as_a_number(tmp_path: Path, cpu: object, amount: str) -> None:
    assert read_cluster_file(write(tmp_path, nodeCPU=cpu, nodeMemory="4096Mi")).given == {"node_cpu": amount, "node_memory": "4Gi"}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"podCidrs": "x"}, "unknown field 'podCidrs'; the nearest that there is is 'podCIDR'"),
        ({"pod-cidr": "x"}, "unknown field 'pod-cidr'; the nearest that there is is 'podCIDR'"),
        ({"ports": {"rst": 1}}, "ports: unknown field 'rst'; the nearest that there is is 'rest'"),
        ({"ports": [1]}, "ports: must be a mapping"),
        ({"nodes": "three"}, "nodes: 'three' is no number"),
        ({"nodes": True}, "nodes: True is no number"),
        ({"nodes": 0}, "nodes: "),
        ({"ports": {"rest": 70000}}, "ports.rest: "),
        ({"runtime": "podman"}, "runtime: invalid choice: 'podman' (choose from docker, "),
        ({"nodeCpu": 2}, "unknown field 'nodeCpu'; the nearest that there is is 'nodeCPU'"),
        ({"nodeCPU": True}, "nodeCPU: True is no text"),
        ({"nodeCPU": -1}, "nodeCPU: -1 is too little: pods need some; give at least 10m"),
        ({"nodeMemory": "lots"}, "nodeMemory: 'lots' is no amount, like 2, 500m or 4Gi"),
        ({"nodeMemory": 4}, "nodeMemory: 4 is too little: 100Mi of it stay free; give at least 256Mi"),
        ({"podCIDR": 10}, "podCIDR: 10 is no text"),
        ({"podCIDR": "10.1.0.0"}, "podCIDR: "),
        ({"name": 7}, "name: 7 is no text"),
        ({"kind": "Clusters"}, f"it must be one Cluster of {API_VERSION}, and begin with apiVersion: {API_VERSION} and kind: Cluster"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, found: dict[str, Any], words: str) -> None:
    path = write(tmp_path, **found)
    with pytest.raises(CommandError) as caught:
        read_cluster_file(path)
    assert str(caught.value).startswith(f"{path}: {words}")


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["knarr", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0), capsys.readouterr().err


def test_flags_go_before_the_file_and_that_before_what_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []

    def start(files: Any, arguments: list[str], *_: object) -> dict[str, Any]:
        asked.append(arguments)
        return {"node": "n", "seconds": 1.0, "server": "s"}

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(process, "start", start)
    monkeypatch.setattr(up, "_check", lambda _: None)
    monkeypatch.setattr(making, "read_route_problems", lambda settings: ())
    monkeypatch.setattr(contexts, "add", lambda name, kubeconfig: tmp_path / "kc")
    monkeypatch.setattr(contexts, "check", lambda: None)
    ClusterSettings(data_dir=tmp_path / "d", log_level="debug", runtime="containerd", nodes=5).files.prepare()
    ClusterSettings(data_dir=tmp_path / "d", log_level="debug", runtime="containerd", nodes=5).save()
    path = write(tmp_path, name="dev", runtime="hollow", nodes=2)
    assert run(["up", "--config", str(path), "--data-dir", str(tmp_path / "d"), "--nodes", "3"], monkeypatch, capsys)[0] == 0
    assert {"--runtime=hollow", "--nodes=3", "--log-level=debug", f"--data-dir={tmp_path / 'd'}"} <= set(asked.pop())
    assert run(["up", "--config", str(path)], monkeypatch, capsys)[0] == 0
    assert {"--nodes=2", f"--data-dir={place.data_dir('dev')}"} <= set(asked.pop())
    assert run(["up", "--config", str(path), "--name", "other"], monkeypatch, capsys)[0] == 0
    assert f"--data-dir={place.data_dir('other')}" in asked.pop()


def test_a_file_that_is_no_good_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    code, complaint = run(["up", "--config", str(write(tmp_path, name="-x"))], monkeypatch, capsys)
    assert code == 2 and "'-x' is no cluster's name" in complaint
    code, complaint = run(["up", "--config", str(tmp_path / "none.yaml")], monkeypatch, capsys)
    assert code == 1 and "none.yaml cannot be read: No such file" in complaint
    assert not (tmp_path / "state").exists()


def test_the_example_in_the_page_can_be_used(tmp_path: Path) -> None:
    page = (ROOT / "docs/clusters.md").read_text()
    example = page.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "knarr.yaml").write_text(example)
    jsonschema_rs.validate(json.loads(FILE.read_text()), yaml.safe_load(example))
    assert read_cluster_file(tmp_path / "knarr.yaml").name == "dev"
