"""The chain of those who decide: who is asked, and that what one of them remembers is no way round another."""

from __future__ import annotations

import pytest

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.machinery.errors import Forbidden
from knarr.service.authentication import NODE_PREFIX, NODES, User
from services.apiserver.authorization import NO_OPINION, Mode, Verdict, imagined
from services.apiserver.authorizers.catalog import MODES, Parts
from services.apiserver.authorizers.chain import Chain
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rbac.grants import Grants
from services.apiserver.request import GET, Request
from services.apiserver.results import Ref

GROUP = "rbac.authorization.k8s.io"
PODS = Ref(imagined("", "pods"), "shop", "a")


class Other:
    """Says what it is told to say, and counts how often."""

    name = "other"

    def __init__(self, verdict: Verdict) -> None:
        self.verdict, self.asked = verdict, 0

    def decide(self, request: Request) -> Verdict:
        self.asked += 1
        return self.verdict


def reader_of_pods() -> tuple[rbac.ClusterRole, rbac.ClusterRoleBinding]:
    """A role that lets Ann and all nodes get pods."""
    role = rbac.ClusterRole(metadata=meta.ObjectMeta(name="reader"))
    role.rules.add(verbs=[GET], api_groups=[""], resources=["pods"])
    binding = rbac.ClusterRoleBinding(metadata=meta.ObjectMeta(name="reader"))
    binding.role_ref.CopyFrom(rbac.RoleRef(api_group=GROUP, kind="ClusterRole", name="reader"))
    binding.subjects.add(kind="User", api_group=GROUP, name="ann")
    binding.subjects.add(kind="Group", api_group=GROUP, name=NODES)
    return role, binding


def allowed(chain: Chain, user: User, *, inside: bool = False) -> bool:
    """As REST's face asks, or a client in the process: the caller and the path are the same objects each time."""
    try:
        asking = chain.authorize(Request(user, GET, PODS, None, agent=None if inside else "kubectl", is_kept=inside))
    except Forbidden:
        return False
    assert asking is None
    return True


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("user", [User("ann"), User(f"{NODE_PREFIX}n1", groups=(NODES,))])
async def test_what_is_remembered_ends_with_the_role(user: User, *, inside: bool) -> None:
    async with ApiInMemory() as api:
        api.seed(*reader_of_pods())
        await api.settle()
        cache = api.server.backend.cache
        chain = Chain([MODES[name](Parts(cache, Grants(cache))) for name in ("Node", "RBAC")])
        assert [allowed(chain, user, inside=inside) for _ in range(3)] == [True] * 3
        assert not allowed(chain, User(user.name + "x"), inside=inside)
        await api.client().delete(rbac.ClusterRoleBinding, "reader")
        await api.settle()
        assert [allowed(chain, user, inside=inside) for _ in range(2)] == [False] * 2


async def test_who_may_say_no_is_asked_each_time_if_he_stands_before() -> None:
    async with ApiInMemory() as api:
        api.seed(*reader_of_pods())
        await api.settle()
        cache, ann = api.server.backend.cache, User("ann")
        other, roles = Other(NO_OPINION), MODES["RBAC"](Parts(cache, Grants(cache)))
        before: tuple[Mode, ...] = (MODES["Node"](Parts(cache, Grants(cache))), other, roles)
        chain = Chain(before)
        assert [allowed(chain, ann) for _ in range(3)] == [True] * 3
        assert other.asked == 3
        other.verdict = Verdict(denied=True)
        assert not allowed(chain, ann)
        chain.modes = roles, other
        assert allowed(chain, ann) and other.asked == 4
        chain.modes = before
        assert not allowed(chain, ann)
