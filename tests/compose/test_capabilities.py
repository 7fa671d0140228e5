"""What a node's components may do is the same whether compose or systemd starts them."""

from __future__ import annotations

import pytest
import yaml

from tests.support.cluster_client import ROOT
from tests.support.units import Unit

# In a container the kubelet enters the machine's mounts; as a unit it is among them.
TO_ENTER_MOUNTS = {"SYS_CHROOT", "SYS_PTRACE"}


@pytest.mark.parametrize("component", ["kubelet", "proxy", "gateway"])
def test_a_unit_has_the_capabilities_of_the_container(component: str) -> None:
    contained = set(yaml.safe_load((ROOT / "compose.yaml").read_text())[f"x-{component}"]["cap_add"]) - TO_ENTER_MOUNTS
    assert {name.removeprefix("CAP_") for name in Unit.read(f"knarr-{component}").capabilities} == contained
