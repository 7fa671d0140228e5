"""What a kubectl user does and sees of who manages which fields: the real kubectl against a whole API server over TLS."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.apiserver.rest.kubectl import DEPLOYMENT, Kubectl

pytestmark = pytest.mark.etcd

CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: red, size: large}
"""
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


async def managers(kubectl: Kubectl, what: str) -> list[str]:
    """``kubectl Apply apps/v1``, in order."""
    found = json.loads((await kubectl("get", *what.split(), "-o", "json", "--show-managed-fields")).out)
    parts = ("manager", "operation", "apiVersion", "subresource")
    return [" ".join(entry[part] for part in parts if part in entry) for entry in found["metadata"].get("managedFields", [])]


async def data(kubectl: Kubectl) -> Any:
    return json.loads((await kubectl("get", "configmap", "settings", "-o", "json")).out)["data"]


async def test_apply_at_the_server(kubectl: Kubectl) -> None:
    made = await kubectl("apply", "--server-side", "-f", "-", stdin=DEPLOYMENT)
    assert made.out == "deployment.apps/web serverside-applied\n"
    assert await managers(kubectl, "deployment web") == ["kubectl Apply apps/v1"]
    again = await kubectl("apply", "--server-side", "-f", "-", stdin=DEPLOYMENT)
    assert again.out == "deployment.apps/web serverside-applied\n"
    shown = (await kubectl("get", "deployment", "web", "-o", "yaml")).out
    assert "managedFields" not in shown
    assert "f:replicas" in (await kubectl("get", "deployment", "web", "-o", "yaml", "--show-managed-fields")).out


async def test_conflicts_force_and_giving_up(kubectl: Kubectl) -> None:
    await kubectl("apply", "--server-side", "-f", "-", stdin=CONFIG_MAP)
    other = CONFIG_MAP.replace("red, size: large", "blue")
    arguments = ("apply", "--server-side", "--field-manager", "other", "-f", "-")
    told = await kubectl.refused(*arguments, stdin=other)
    assert 'Apply failed with 1 conflict: conflict with "kubectl": .data.color' in told
    assert "--force-conflicts" in told, "kubectl says what to do"
    await kubectl(*arguments, "--force-conflicts", stdin=other)
    assert await data(kubectl) == {"color": "blue", "size": "large"}
    assert await managers(kubectl, "configmap settings") == ["kubectl Apply v1", "other Apply v1"]
    await kubectl("apply", "--server-side", "-f", "-", stdin=CONFIG_MAP.replace("{color: red, size: large}", "{shape: round}"))
    assert await data(kubectl) == {"color": "blue", "shape": "round"}


async def test_the_way_over_from_the_clients_side(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=CONFIG_MAP)
    assert await managers(kubectl, "configmap settings") == ["kubectl-client-side-apply Update v1"]
    await kubectl("apply", "--server-side", "-f", "-", stdin=CONFIG_MAP.replace("red", "green"))
    assert await data(kubectl) == {"color": "green", "size": "large"}
    # The other one keeps the annotation up to date.
    assert set(await managers(kubectl, "configmap settings")) == {"kubectl Apply v1", "kubectl-last-applied Apply v1"}
    await kubectl("apply", "--server-side", "-f", "-", stdin=CONFIG_MAP.replace(", size: large", ""))
    assert await data(kubectl) == {"color": "red"}, "what kubectl had applied at its own side it may give up at the server's"
    await kubectl("apply", "-f", "-", stdin=CONFIG_MAP.replace("red", "black"))
    assert (await data(kubectl))["color"] == "black", "and the way back"


async def test_each_command_has_its_manager(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", stdin=DEPLOYMENT)
    await kubectl("scale", "deployment", "web", "--replicas=3")
    await kubectl("label", "deployment", "web", "tier=front")
    await kubectl("set", "image", "deployment/web", "c=nginx:2", "--field-manager=me")
    assert sorted(await managers(kubectl, "deployment web")) == [
        "kubectl Update apps/v1 scale",
        "kubectl-create Update apps/v1",
        "kubectl-label Update apps/v1",
        "me Update apps/v1",
    ]
    told = await kubectl.refused("apply", "--server-side", "-f", "-", stdin=DEPLOYMENT)
    assert 'conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas' in told.replace("conflicts", "conflict") or (
        'conflicts with "kubectl" with subresource "scale" using apps/v1:\n- .spec.replicas' in told
    )


async def test_dry_run_and_diff_at_the_server(kubectl: Kubectl) -> None:
    dry = await kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=CONFIG_MAP)
    assert dry.out == "configmap/settings serverside-applied (server dry run)\n"
    assert "NotFound" in await kubectl.refused("get", "configmap", "settings")
    await kubectl("apply", "--server-side", "-f", "-", stdin=CONFIG_MAP)
    same = await kubectl.try_("diff", "--server-side", "-f", "-", stdin=CONFIG_MAP)
    assert (same.code, same.out) == (0, "")
    found = await kubectl.try_("diff", "--server-side", "-f", "-", stdin=CONFIG_MAP.replace("red", "blue"))
    assert found.code == 1 and "-  color: red" in found.out and "+  color: blue" in found.out


async def test_what_cannot_be_applied_is_told_with_its_path(kubectl: Kubectl) -> None:
    wrong = CONFIG_MAP + "nope: 1\n"
    told = await kubectl.refused("apply", "--server-side", "-f", "-", stdin=wrong)
    assert ".nope: field not declared in schema" in told


async def test_a_status_is_applied_apart(kubectl: Kubectl) -> None:
    await kubectl("apply", "--server-side", "-f", "-", stdin=DEPLOYMENT)
    status = DEPLOYMENT + "status: {replicas: 1}\n"
    await kubectl("apply", "--server-side", "--subresource=status", "--field-manager=controller", "-f", "-", stdin=status)
    assert "controller Apply apps/v1 status" in await managers(kubectl, "deployment web")
