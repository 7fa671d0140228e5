"""The command line of the controller manager."""

from __future__ import annotations

import argparse

import pytest

from knarr.client.leader import Election
from services.controller.flags import add_flags, settings_of
from services.controller.settings import ControllerSettings, EvictionRates


def read(*line: str) -> ControllerSettings:
    parser = argparse.ArgumentParser()
    parser.add_argument("--apiserver", default="127.0.0.1:1")
    parser.add_argument("--trust")
    add_flags(parser)
    return settings_of(parser.parse_args(line), Election("me"), "")


def test_nodes_that_fail_are_left_as_fast_as_kubernetes_flags_say() -> None:
    assert read().eviction_rates == EvictionRates() and read().node_grace_seconds == ControllerSettings().node_grace_seconds
    rates = ("--node-eviction-rate=0.5", "--secondary-node-eviction-rate=0", "--large-cluster-size-threshold=10")
    made = read("--node-monitor-grace-period=1m", *rates, "--unhealthy-zone-threshold=0.25")
    assert made.node_grace_seconds == 60.0
    assert made.eviction_rates == EvictionRates(per_second=0.5, disrupted_per_second=0.0, large_zone=10, unhealthy_share=0.25)


@pytest.mark.parametrize(
    ("flag", "instead"),
    [
        ("--node-eviction-rate=-1", "from 0 to 1000"),
        ("--node-eviction-rate=nan", "from 0 to 1000"),
        ("--unhealthy-zone-threshold=55", "from 0 to 1, like 0.5"),
        ("--unhealthy-zone-threshold=half", "from 0 to 1, like 0.5"),
        ("--large-cluster-size-threshold=few", "is not a number"),
        ("--node-monitor-grace-period=0s", "is not a time from 1s"),
    ],
)
def test_a_flag_that_cannot_be_meant_is_refused_with_the_way_out(flag: str, instead: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read(flag)
    told = capsys.readouterr().err
    assert instead in told and flag.partition("=")[0] in told
