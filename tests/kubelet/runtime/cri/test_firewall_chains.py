"""Chains that CNI's plugins leave: whether they may go, and what is told to take them away."""

from __future__ import annotations

import pytest

from services.kubelet.runtime.cri.firewall_chains import removal

OTHERS = ["-P INPUT ACCEPT", "-P FORWARD DROP", "-N DOCKER", "-A FORWARD -o docker0 -j DOCKER"]
CHAINS = ["-N CNI-ADMIN", "-N CNI-FORWARD"]
TO_PODS = '-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD'
TO_ADMIN = '-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN'
POD = "-A CNI-FORWARD -d 10.85.0.2/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"


def test_what_is_left_when_the_last_pod_is_gone() -> None:
    assert removal("\n".join([*OTHERS, *CHAINS, TO_PODS, TO_ADMIN])).splitlines() == [
        "*filter", TO_PODS.replace("-A", "-D", 1), TO_ADMIN.replace("-A", "-D", 1), "-X CNI-FORWARD", "-X CNI-ADMIN", "COMMIT",
    ]  # fmt: skip
    assert removal("\n".join([*OTHERS, "-N CNI-FORWARD"])).splitlines() == ["*filter", "-X CNI-FORWARD", "COMMIT"]


@pytest.mark.parametrize(
    "rules", [[], OTHERS, [*CHAINS, TO_PODS, TO_ADMIN, POD], [*CHAINS, TO_PODS, TO_ADMIN, "-A CNI-ADMIN -s 10.0.0.0/8 -j DROP"]]
)
def test_what_is_somebodys_stays(rules: list[str]) -> None:
    assert removal("\n".join(rules)) == ""
