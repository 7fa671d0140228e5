"""The command line: its words for mistakes, and that settings survive the way to the background."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path

import pytest

from services.command import main as cli
from services.standalone import options
from services.standalone.preflight import problems
from services.standalone.settings import ClusterSettings, Ports

FREE_PORTS = Ports(**{field.name: 0 for field in dataclasses.fields(Ports)})


def test_options_reach_the_background_process_unchanged(tmp_path: Path) -> None:
    settings = ClusterSettings(data_dir=tmp_path, runtime="hollow", datapath="userspace", ports=Ports(rest=1, proxy=2), node_name="n1")
    arguments = cli.parser().parse_args(["up", *options.options_of(settings)])
    assert options.settings_from(arguments) == settings


def test_what_is_not_said_stays_as_it_was_chosen_before(tmp_path: Path) -> None:
    ClusterSettings(data_dir=tmp_path, runtime="hollow", ports=Ports(rest=1, proxy=2), service_cidr="10.1.0.0/16").save()
    arguments = cli.parser().parse_args(["up", "--data-dir", str(tmp_path), "--proxy-port", "3"])
    settings = options.settings_from(arguments)
    assert (settings.runtime, settings.service_cidr, settings.ports.rest, settings.ports.proxy) == ("hollow", "10.1.0.0/16", 1, 3)


def test_a_cluster_keeps_the_range_of_its_services(tmp_path: Path) -> None:
    kept = ClusterSettings(data_dir=tmp_path, runtime="hollow", ports=FREE_PORTS)
    kept.save()
    kept.files.etcd.mkdir()
    changed = dataclasses.replace(kept, service_cidr="10.9.0.0/16")
    assert any("have addresses in 10.96.0.0/16" in problem for problem in problems(changed))
    assert not list(problems(kept))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["up", "--runtime", "podman"], "invalid choice: 'podman'"),
        (["up", "--rest-port", "http"], "'http' is not a port; give a number from 0 to 65535"),
        (["up", "--pod-cidr", "10.244.0.1/24"], "is not an IPv4 range"),
        (["up", "--cluster-domain", "a..b"], "'a..b' is not a domain name; write it like cluster.local"),
        (["start"], "invalid choice: 'start'"),
    ],
)
def test_a_mistake_is_named(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.parser().parse_args(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_kubeconfig_before_up_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["knarr", "kubeconfig", "--data-dir", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert "start the cluster first: `knarr up`" in capsys.readouterr().err


def test_a_taken_port_is_named_with_its_option() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        free = dataclasses.replace(FREE_PORTS, rest=port)
        found = list(problems(ClusterSettings(runtime="hollow", ports=free)))
    assert any(f"port {port} (rest)" in problem and "--rest-port" in problem for problem in found)


def test_ranges_that_do_not_fit_are_refused() -> None:
    settings = ClusterSettings(runtime="hollow", ports=FREE_PORTS, pod_cidr="10.1.0.0/24", service_cidr="10.244.0.0/16")
    text = "\n".join(problems(settings))
    assert "--pod-cidr 10.1.0.0/24 lies outside --cluster-cidr 10.244.0.0/16" in text
    assert "--service-cidr 10.244.0.0/16 overlaps" in text


def test_a_load_balancer_pool_among_the_services_is_refused() -> None:
    settings = ClusterSettings(runtime="hollow", ports=FREE_PORTS, load_balancer_pool="10.96.7.0/24")
    assert any("--service-cidr 10.96.0.0/16 overlaps --load-balancer-pool 10.96.7.0/24" in problem for problem in problems(settings))


def test_a_taken_nameserver_port_is_named_with_its_option() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as holder:
        holder.bind(("0.0.0.0", 0))
        port = holder.getsockname()[1]
        found = list(problems(ClusterSettings(runtime="hollow", ports=dataclasses.replace(FREE_PORTS, nameserver=port))))
    assert any(f"port {port} (nameserver)" in problem and "--nameserver-port" in problem for problem in found)


def test_no_engine_is_a_clear_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    text = "\n".join(problems(ClusterSettings(ports=FREE_PORTS)))
    assert "no Docker engine answers" in text
    assert "--runtime hollow" in text
