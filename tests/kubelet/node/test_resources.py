"""What a node has: all of the machine, or the part that it was told."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.kubelet.node.machine import Machine
from services.kubelet.node.resources import capacity, resources
from services.kubelet.settings import KubeletSettings

GIB = 1 << 30
MACHINE = Machine(4, 8 * GIB, 100 * GIB, "6.1", "Debian", "amd64", "m", "b", "u")
KEPT_FREE_KI = 100 << 10


@pytest.mark.parametrize(
    ("size", "cpu", "memory_ki"),
    [
        ({}, "4", 8 << 20),
        ({"cpu": 500}, "500m", 8 << 20),
        ({"memory": GIB}, "4", 1 << 20),
        ({"cpu": 2000, "memory": 2 * GIB}, "2", 2 << 20),
    ],
)
def test_a_node_has_the_machine_or_its_part_of_it(tmp_path: Path, size: dict[str, int], cpu: str, memory_ki: int) -> None:
    settings = KubeletSettings("node", tmp_path, "192.0.2.1", size=size)
    found = resources(settings, MACHINE)
    assert found["cpu"] == (cpu, cpu)
    assert found["memory"] == (f"{memory_ki}Ki", f"{memory_ki - KEPT_FREE_KI}Ki")


def test_what_is_reserved_is_of_the_part_and_pods_are_held_to_the_rest(tmp_path: Path) -> None:
    reserved = {"cpu": 250, "memory": GIB // 2}
    settings = KubeletSettings("node", tmp_path, "192.0.2.1", size={"cpu": 1000, "memory": GIB}, system_reserved=reserved)
    found = resources(settings, MACHINE)
    assert found["cpu"] == ("1", "750m") and found["memory"][1] == f"{(1 << 19) - KEPT_FREE_KI}Ki"
    assert capacity(settings, MACHINE) == ({"cpu": 1000, "memory": GIB}, [{}, reserved])
