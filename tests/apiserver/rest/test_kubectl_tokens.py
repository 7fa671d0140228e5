"""Tokens that kubectl asks for, by an API server that signs them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.apiserver.rest.kubectl import Kubectl
from tests.apiserver.rest.live import LiveServer, running_server
from tests.support.clients import KUBECTL, Program
from tests.support.signing import signing_keys

# Those before it know no command for it.
FIRST = (1, 24)
ROLES = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: NAMESPACE}
rules: [{apiGroups: [""], resources: [RESOURCE], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: reader}]
"""
WHO_AM_I = (1, 28)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(tmp_path_factory.mktemp("live"), in_memory=True, keys=signing_keys()) as server:
        yield server


@pytest.fixture(params=[program for program in KUBECTL if tuple(map(int, program.version.split("."))) >= FIRST], ids=str)
async def kubectl(request: pytest.FixtureRequest, live: LiveServer, kubectl: Kubectl) -> Kubectl:
    """In a namespace of the test's own."""
    program: Program = request.param
    return Kubectl(live, kubectl.namespace, program.path)


async def test_a_token_says_who_one_is(kubectl: Kubectl) -> None:
    token = (await kubectl("create", "token", "default", "--duration=10m")).out.strip()
    account = f"system:serviceaccount:{kubectl.namespace}:default"
    assert f'User "{account}" cannot list resource "pods"' in await kubectl.refused("get", "pods", f"--token={token}")
    await kubectl("create", "rolebinding", "default", "--clusterrole=view", f"--serviceaccount={kubectl.namespace}:default")
    assert "No resources found" in (await kubectl("get", "pods", f"--token={token}")).err
    assert "Unauthorized" in await kubectl.refused("get", "pods", f"--token={token[:-4]}")


async def test_somebody_else_is_played(kubectl: Kubectl) -> None:
    account = f"system:serviceaccount:{kubectl.namespace}:default"
    assert f'User "{account}" cannot list resource "secrets"' in await kubectl.refused("get", "secrets", f"--as={account}")
    arguments = ("--as=Zoë", "--as-group=system:masters", "--as-group=dev", "--as-uid=7")
    assert "No resources found" in (await kubectl("get", "secrets", *arguments)).err
    if kubectl.version >= WHO_AM_I:
        said = (await kubectl("auth", "whoami", *arguments)).out
        assert [said.count(word) for word in ("Zoë", "[system:masters dev system:authenticated]", "7")] == [1, 1, 1]


async def test_roles_are_reconciled_and_what_they_come_to_is_listed(kubectl: Kubectl) -> None:
    def roles(resource: str) -> str:
        # This command of kubectl's puts no namespace into what has none.
        return ROLES.replace("NAMESPACE", kubectl.namespace).replace("RESOURCE", resource)

    await kubectl("auth", "reconcile", "-f", "-", stdin=roles("pods"))
    said = (await kubectl("auth", "reconcile", "-f", "-", stdin=roles("secrets"))).out
    assert "role.rbac.authorization.k8s.io/reader reconciled" in said
    # Rules are added, and taken away only where that is asked for.
    found = (await kubectl("get", "role", "reader", "-o", "jsonpath={.rules[*].resources[*]}")).out
    assert sorted(found.split()) == ["pods", "secrets"]
    await kubectl("auth", "reconcile", "--remove-extra-permissions", "-f", "-", stdin=roles("secrets"))
    listed = {line.split()[0]: line for line in (await kubectl("auth", "can-i", "--list", "--as=reader")).lines}
    assert listed["secrets"].endswith("[get]") and "pods" not in listed
    assert listed["selfsubjectaccessreviews.authorization.k8s.io"].endswith("[create]")
