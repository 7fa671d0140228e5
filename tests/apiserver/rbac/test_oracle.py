"""RBAC against a plain oracle: random roles, bindings, callers and requests, decided by searching all of them rule by rule."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.service.authentication import User
from services.apiserver.authorization import imagined, imagined_path
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rbac import index
from services.apiserver.rbac.authorizer import RoleAuthorizer
from services.apiserver.rbac.defaults import GROUP
from services.apiserver.rbac.grants import Grants
from services.apiserver.request import Request
from services.apiserver.results import Ref

NAMESPACES = ("shop", "depot")
VERBS = ("get", "list", "create", "impersonate")
GROUPS = ("", "apps", "example.com")
RESOURCES = ("pods", "pods/log", "deployments", "things", "things/status")
NAMES = ("a", "b", "")
PATHS = ("/metrics", "/healthz", "/healthz/etcd", "/apis/x", "/")
SPELLED = ("/metrics", "/healthz", "/healthz*", "/healthz/*", "*", "/apis/*")
LABELS = ("one", "two", "three")
USERS = ("ann", "bob", "system:serviceaccount:shop:robot")
MEMBERS = ("dev", "ops", "system:serviceaccounts:shop")
REQUESTS = 400
RULE_FOR_ONE = rbac.PolicyRule(verbs=["list"], api_groups=[""], resources=["pods"], resource_names=["a"])


class World:
    """One random cluster."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.roles: list[Any] = [self._role(number) for number in range(self.random.randint(0, 12))]
        self.bindings: list[Any] = [self._binding(number) for number in range(self.random.randint(0, 20))]

    def some(self, words: Sequence[str], most: int = 2) -> list[str]:
        return self.random.sample(words, self.random.randint(1, min(most, len(words))))

    def _rule(self, cluster: bool) -> rbac.PolicyRule:
        rule = rbac.PolicyRule(verbs=self.some((*VERBS, "*")))
        if cluster and self.random.random() < 0.3:
            rule.non_resource_urls.extend(self.some(SPELLED))
            return rule
        rule.api_groups.extend(self.some((*GROUPS, "*")))
        rule.resources.extend(self.some((*RESOURCES, "*", "*/status", "*/log"), 3))
        if self.random.random() < 0.3:
            rule.resource_names.extend(self.some(("a", "b")))
        return rule

    def _role(self, number: int) -> Any:
        cluster = self.random.random() < 0.6
        role: Any = rbac.ClusterRole() if cluster else rbac.Role()
        role.metadata.name = f"role-{number % 7}"
        if not cluster:
            role.metadata.namespace = self.random.choice(NAMESPACES)
        role.rules.extend(self._rule(cluster) for _ in range(self.random.randint(0, 3)))
        if cluster:
            role.metadata.labels.update(dict.fromkeys(self.some(LABELS), "true"))
            if self.random.random() < 0.3:
                for label in self.some(LABELS):
                    role.aggregation_rule.cluster_role_selectors.add().match_labels[label] = "true"
        return role

    def _binding(self, number: int) -> Any:
        cluster = self.random.random() < 0.4
        binding: Any = rbac.ClusterRoleBinding() if cluster else rbac.RoleBinding()
        binding.metadata.name = f"binding-{number}"
        if not cluster:
            binding.metadata.namespace = self.random.choice(NAMESPACES)
        kind = "ClusterRole" if cluster or self.random.random() < 0.5 else "Role"
        binding.role_ref.CopyFrom(rbac.RoleRef(api_group=GROUP, kind=kind, name=f"role-{self.random.randrange(8)}"))
        for _ in range(self.random.randint(0, 3)):
            choice = self.random.randrange(3)
            if choice == 0:
                binding.subjects.add(kind="User", api_group=GROUP, name=self.random.choice(USERS))
            elif choice == 1:
                binding.subjects.add(kind="Group", api_group=GROUP, name=self.random.choice(MEMBERS))
            else:
                namespace = "" if not cluster and self.random.random() < 0.5 else "shop"
                binding.subjects.add(kind="ServiceAccount", namespace=namespace, name="robot")
        return binding

    def stored(self) -> Iterator[Any]:
        """As a cluster has them: one of each name."""
        yield from {(type(found), found.metadata.namespace, found.metadata.name): found for found in (*self.roles, *self.bindings)}.values()

    def request(self) -> Request:
        user = User(self.random.choice(USERS), groups=tuple(self.some(MEMBERS)))
        verb = self.random.choice((*VERBS, "other"))
        if self.random.random() < 0.2:
            return Request(user, verb, Ref(imagined_path(self.random.choice(PATHS))), None)
        plural, _, part = self.random.choice(RESOURCES).partition("/")
        group, name = self.random.choice(GROUPS), self.random.choice(NAMES)
        return Request(user, verb, Ref(imagined(group, plural), self.random.choice((*NAMESPACES, "")), name, part), None)


def is_allowed(stored: Sequence[Any], request: Request) -> bool:
    return any(
        _rule_allows(rule, request)
        for binding in stored
        if isinstance(binding, rbac.ClusterRoleBinding)
        or (isinstance(binding, rbac.RoleBinding) and binding.metadata.namespace == request.namespace)
        if any(_is_meant(subject, binding, request.user) for subject in binding.subjects)
        for rule in _rules_of(stored, binding)
    )


def _is_meant(subject: rbac.Subject, binding: Any, user: User) -> bool:
    if subject.kind == "User":
        return user.name == subject.name
    if subject.kind == "Group":
        return subject.name in user.groups
    return user.name == f"system:serviceaccount:{subject.namespace or binding.metadata.namespace}:{subject.name}"


def _rules_of(stored: Sequence[Any], binding: Any) -> list[rbac.PolicyRule]:
    ref = binding.role_ref
    kind, namespace = (rbac.ClusterRole, "") if ref.kind == "ClusterRole" else (rbac.Role, binding.metadata.namespace)
    roles = [role for role in stored if isinstance(role, kind) and role.metadata.name == ref.name and role.metadata.namespace == namespace]
    return [rule for role in roles for rule in _all_rules(stored, role, set())]


def _all_rules(stored: Sequence[Any], role: Any, seen: set[str]) -> list[rbac.PolicyRule]:
    if isinstance(role, rbac.Role) or not role.HasField("aggregation_rule"):
        return list(role.rules)
    seen.add(role.metadata.name)
    found: list[rbac.PolicyRule] = []
    for other in stored:
        if not isinstance(other, rbac.ClusterRole) or other.metadata.name in seen:
            continue
        if any(selector.match_labels.items() <= other.metadata.labels.items() for selector in role.aggregation_rule.cluster_role_selectors):
            found += _all_rules(stored, other, seen)
    return found


def _rule_allows(rule: rbac.PolicyRule, request: Request) -> bool:
    if request.verb not in rule.verbs and "*" not in rule.verbs:
        return False
    plural = request.ref.resource.plural
    if plural.startswith("/"):
        return any(url == plural or (url.endswith("*") and plural.startswith(url[:-1])) for url in rule.non_resource_urls)
    if request.ref.version.group not in rule.api_groups and "*" not in rule.api_groups:
        return False
    if rule.resource_names and request.name not in rule.resource_names:
        return False
    spelled = f"{plural}/{request.subresource}" if request.subresource else plural
    return "*" in rule.resources or spelled in rule.resources or bool(request.subresource and f"*/{request.subresource}" in rule.resources)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("most_entries", [index.MAX_ENTRIES, 1])
async def test_random_clusters(seed: int, most_entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where every rule is too large for the index."""
    monkeypatch.setattr(index, "MAX_ENTRIES", most_entries)
    world = World(seed)
    stored = list(world.stored())
    api = ApiInMemory()
    api.seed(*stored)
    async with api:
        authorizer = RoleAuthorizer(Grants(api.server.backend.cache))
        for _ in range(REQUESTS):
            request = world.request()
            assert authorizer.decide(request).allowed is is_allowed(stored, request), (request, stored)


@pytest.mark.parametrize("seed", range(20))
async def test_requests_that_come_again(seed: int) -> None:
    """The same callers and paths, as REST's face keeps them, before and after bindings and roles have come and gone."""
    world = World(seed)
    stored = list(world.stored())
    requests = [replace(world.request(), agent="kubectl") for _ in range(60)]
    async with ApiInMemory() as api:
        authorizer, client = RoleAuthorizer(Grants(api.server.backend.cache)), api.client()
        present: list[Any] = []
        for obj in [*stored, None, *stored]:
            if obj in present:
                present.remove(obj)
                await client.delete(type(obj), obj.metadata.name, obj.metadata.namespace)
            elif obj is not None:
                present.append(obj)
                api.seed(obj)
                await api.settle()
            for request in (*requests, *requests):
                assert authorizer.decide(request).allowed is is_allowed(present, request), (request, present)


def bound(role: str) -> rbac.ClusterRoleBinding:
    """A cluster's role, to somebody."""
    binding = rbac.ClusterRoleBinding(metadata=meta.ObjectMeta(name=role))
    binding.role_ref.CopyFrom(rbac.RoleRef(api_group=GROUP, kind="ClusterRole", name=role))
    binding.subjects.add(kind="User", api_group=GROUP, name="ann")
    return binding


async def test_a_request_for_all_is_none_for_one() -> None:
    """A list by the path of one that may be selects an object that may not be listed alone, and the other way round."""
    role = rbac.ClusterRole(metadata=meta.ObjectMeta(name="role"), rules=[RULE_FOR_ONE])
    api = ApiInMemory()
    api.seed(role, bound("role"))
    async with api:
        authorizer = RoleAuthorizer(Grants(api.server.backend.cache))
        user, ref = User("ann"), Ref(imagined("", "pods"), "shop")
        for selector, allowed in (("metadata.name=a", True), ("metadata.name=b", False), ("", False), ("metadata.name=a", True)):
            request = Request(user, "list", ref, meta.ListOptions(field_selector=selector), agent="kubectl")
            assert authorizer.decide(request).allowed is allowed, selector


@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_who_was_let_list_all_may_not_list_what_is_kept_from_him(verb: str) -> None:
    """The list of all comes again and is remembered; no list by a name is taken for it, nor it for one, once the role is gone."""
    rule_for_all = rbac.PolicyRule(verbs=[verb], api_groups=[""], resources=["pods"])
    role = rbac.ClusterRole(metadata=meta.ObjectMeta(name="all"), rules=[rule_for_all])
    one = rbac.ClusterRole(metadata=meta.ObjectMeta(name="one"), rules=[RULE_FOR_ONE])
    async with ApiInMemory() as api:
        for part in (role, one):
            api.seed(part, bound(part.metadata.name))
        await api.settle()
        authorizer = RoleAuthorizer(Grants(api.server.backend.cache))
        user, ref = User("ann"), Ref(imagined("", "pods"), "shop")

        def allowed() -> list[bool]:
            selectors = ("", "", "metadata.name=a", "metadata.name=b", "status.phase=Running", "")
            options = [meta.ListOptions(field_selector=selector) for selector in selectors]
            return [authorizer.decide(Request(user, verb, ref, option, agent="kubectl")).allowed for option in options]

        assert allowed() == [True] * 6
        await api.client().delete(rbac.ClusterRoleBinding, "all")
        await api.settle()
        assert allowed() == [False, False, verb == "list", False, False, False]


async def test_the_random_clusters_allow_some_and_refuse_some() -> None:
    answers = [is_allowed(list(world.stored()), world.request()) for world in map(World, range(40)) for _ in range(50)]
    assert len(answers) / 20 < sum(answers) < len(answers) / 2
