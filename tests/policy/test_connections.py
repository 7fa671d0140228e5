"""Real connections between real network namespaces agree with the oracle: on one bridge, across two nodes, from nodes and from outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.proxy.podnetwork.plan import ROUTES, VXLAN
from tests.policy import laboratory, worlds
from tests.policy.laboratory import PolicyLaboratory

pytestmark = pytest.mark.net
RECIPES = worlds.recipes()
# Those that differ most, for the second way between nodes.
FEW = ("nothing", "deny traffic from other namespaces", "both ends must agree", "address block with exceptions", "several policies add up")


@pytest.fixture(scope="module")
def routes() -> Iterator[PolicyLaboratory]:
    with laboratory.opened(ROUTES) as lab:
        yield lab


@pytest.fixture(scope="module")
def vxlan() -> Iterator[PolicyLaboratory]:
    with laboratory.opened(VXLAN) as lab:
        yield lab


@pytest.mark.parametrize("name", RECIPES)
def test_recipe(routes: PolicyLaboratory, name: str) -> None:
    routes.world.policies = RECIPES[name]
    routes.enforce()
    routes.check(name)


@pytest.mark.parametrize("seed", range(12))
def test_generated_policies(routes: PolicyLaboratory, seed: int) -> None:
    routes.world.policies = worlds.generated(seed)
    routes.enforce()
    routes.check()


@pytest.mark.parametrize("name", FEW)
def test_recipe_over_vxlan(vxlan: PolicyLaboratory, name: str) -> None:
    vxlan.world.policies = RECIPES[name]
    vxlan.enforce()
    vxlan.check(name)
