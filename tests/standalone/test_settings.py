"""`settings.json` is read strictly: what is wrong is named with its field, and what is right is kept for `knarr down`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from knarr.service.errors import CommandError
from services.standalone.options import settings_from
from services.standalone.settings import BESIDE, ClusterSettings, Ports

CHOSEN: dict[str, Any] = {"runtime": "hollow", "service_cidr": "10.1.0.0/16"}


def written(folder: Path, **changes: Any) -> Path:
    """A settings file in which fields have been changed; None takes one out."""
    settings = ClusterSettings(data_dir=folder, ports=Ports(rest=1), **CHOSEN)
    settings.save()
    fields = {**json.loads(settings.files.settings.read_text()), **changes}
    settings.files.settings.write_text(json.dumps({name: value for name, value in fields.items() if value is not None}))
    return settings.files.settings


def test_what_was_saved_is_read_again(tmp_path: Path) -> None:
    settings = ClusterSettings(data_dir=tmp_path, ports=Ports(rest=0), node_ports=(31000, 31999), node_name="n", **CHOSEN)
    settings.save()
    assert ClusterSettings.saved(tmp_path) == settings


def test_a_new_directory_has_the_defaults(tmp_path: Path) -> None:
    assert ClusterSettings.saved(tmp_path) == ClusterSettings(data_dir=tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "red"}, "colour is not known to this version of Knarr"),
        ({"data_dir": "/elsewhere"}, "data_dir is not known"),
        ({"runtime": None}, "runtime is missing"),
        ({"runtime": "podman"}, "runtime: invalid choice: 'podman' (choose from docker, containerd, hollow)"),
        ({"service_cidr": "10.96.0.1/16"}, "service_cidr: '10.96.0.1/16' is not an IPv4 range"),
        ({"service_cidr": ["10.96.0.0/16"]}, 'service_cidr: ["10.96.0.0/16"] is no text'),
        ({"cluster_domain": "Cluster.Local"}, 'cluster_domain: "Cluster.Local" is written otherwise: "cluster.local"'),
        ({"listen_address": "localhost"}, "listen_address: 'localhost' is not an IPv4 address"),
        ({"node_ports": [40000, 30000]}, "node_ports: [40000,30000] is not the first and the last port of a range"),
        ({"node_ports": [True, 30000]}, "node_ports: [true,30000] is not the first and the last port of a range"),
        ({"node_ports": None}, "node_ports is missing"),
        ({"ports": None}, "ports is missing"),
        ({"ports": 6443}, "ports is no object"),
        ({"ports": {"rest": 6443}}, "ports.kubelet is missing"),
    ],
)
def test_a_field_that_is_no_good_is_named(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(CommandError) as caught:
        ClusterSettings.saved(tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert words in text
    assert "or remove it and give `knarr up` the options again" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("port", "words"), [("6443", '"6443" is no number'), (70000, "'70000' is not a port"), (True, "true is no number")]
)
def test_a_port_that_is_none_is_named(port: object, words: str, tmp_path: Path) -> None:
    ports = json.loads(written(tmp_path).read_text())["ports"]
    written(tmp_path, ports={**ports, "dns": port})
    with pytest.raises(CommandError, match=f"ports.dns: {words}"):
        ClusterSettings.saved(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00" * 300])
def test_a_file_that_was_cut_off_is_named(content: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(content)
    with pytest.raises(CommandError, match=f"{path} is not (a )?JSON"):
        ClusterSettings.saved(tmp_path)


def test_what_is_right_is_salvaged(tmp_path: Path) -> None:
    written(tmp_path, datapath="magic", colour="red")
    settings, complaint = ClusterSettings.salvaged(tmp_path)
    assert (settings.runtime, settings.service_cidr, settings.ports.rest, settings.datapath) == ("hollow", "10.1.0.0/16", 1, "nftables")
    assert "colour is not known to this version of Knarr; datapath: invalid choice: 'magic'" in complaint


@pytest.mark.parametrize(
    ("given", "mutual"),
    [
        ({}, 6445),
        ({"rest": 7443}, 6445),
        ({"apiserver": 7444}, 7445),
        ({"apiserver": 7444, "mutual": 9000}, 9000),
        ({"apiserver": 7444, "mutual": 6445}, 6445),
        ({"apiserver": 7444, "mutual": 0}, 0),
        ({"apiserver": 0}, 0),
        ({"apiserver": 65534}, 65535),
        # Of none behind it, and of one of another part, no cluster could make use.
        ({"apiserver": 65535}, 0),
        ({"rest": 6445}, 6446),
        ({"apiserver": 7444, "rest": 7445, "nameserver": 7446}, 7447),
    ],
)
def test_the_port_for_certificates_lies_beside_the_api_servers(given: dict[str, int], mutual: int) -> None:
    assert Ports().moved(**given) == Ports(**{**given, "mutual": mutual})


def test_the_gateways_port_lies_behind_that_of_dns() -> None:
    assert (Ports().gateway, Ports().moved(dns=10453).gateway, Ports().moved(dns=10453, gateway=9000).gateway) == (10254, 10454, 9000)
    assert Ports().moved(dns=0).gateway == 0


def test_the_port_for_certificates_goes_along_until_somebody_chooses_it() -> None:
    assert Ports().moved(apiserver=7444).moved(dns=1) == Ports(apiserver=7444, mutual=7445, dns=1, gateway=2)
    assert Ports().moved(apiserver=7444).moved(apiserver=8444).mutual == 8445
    assert Ports().moved(apiserver=7444, mutual=9000).moved(apiserver=8444).mutual == 9000


def test_a_second_cluster_needs_no_port_that_earlier_versions_did_not_have(tmp_path: Path) -> None:
    """Its options, and the file that it left, are from before there was a port for certificates, or a gateway."""
    known = [field.name for field in dataclasses.fields(Ports) if field.name not in BESIDE]
    others = {f"{name}_port": 7000 + index for index, name in enumerate(known)}
    chosen = settings_from(tmp_path, others)
    ports = dataclasses.asdict(chosen.ports)
    assert len(set(ports.values()) - set(dataclasses.asdict(Ports()).values())) == len(ports)
    written(tmp_path, ports={name: ports[name] for name in known})
    assert ClusterSettings.saved(tmp_path).ports == settings_from(tmp_path, {}).ports == chosen.ports
