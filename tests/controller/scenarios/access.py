"""Roles and accounts."""

from __future__ import annotations

from datetime import timedelta

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.machinery.times import to_time
from knarr.objects.account_tokens import ACCOUNT, DAY, INVALID_SINCE, LAST_USED, SINCE, TRACKING_NAME, TRACKING_NAMESPACE, TYPE
from tests.controller.objects import (
    namespace,
    pod,
)
from tests.controller.scenarios.namespaces import secret
from tests.controller.scenarios.steps import step
from tests.support.mishaps import World

LONG_AGO = "2020-01-01"


def cluster_role(name: str, label: str = "", gathers: str = "", **rule: str) -> rbac.ClusterRole:
    made = rbac.ClusterRole(metadata=meta.ObjectMeta(name=name))
    if label:
        made.metadata.labels[label] = "true"
    if gathers:
        made.aggregation_rule.cluster_role_selectors.add().match_labels[gathers] = "true"
    for resource, verb in rule.items():
        made.rules.add(verbs=[verb], api_groups=[""], resources=[resource])
    return made


async def gathering_roles(w: World) -> None:
    """A role that gathers one that gathers others; one of these comes, one loses its label, one gets another rule, one goes."""
    for name in ("one", "two", "three"):
        await w.client.create(cluster_role(name, "to-view", **{name: "get"}))
    await w.client.create(cluster_role("view", "to-edit", gathers="to-view"))
    await w.client.create(cluster_role("edit", gathers="to-edit"))
    await step()
    await w.client.create(cluster_role("four", "to-view", four="list"))
    await w.edit(rbac.ClusterRole, "one", lambda found: found.metadata.labels.clear(), "")
    await step()
    await w.edit(rbac.ClusterRole, "two", lambda found: found.rules.add(verbs=["watch"], api_groups=[""], resources=["two"]), "")
    await w.client.delete(rbac.ClusterRole, "three")
    await step()


async def accounts(w: World) -> None:
    """A new namespace, and an account that somebody deletes."""
    await w.client.create(namespace("team"))
    await step()
    await w.client.delete(core.ServiceAccount, "default", "team")
    await step()


async def token_secrets(w: World) -> None:
    """Secrets that ask for tokens: of an account that goes, of one that stays and is harmed, and of one that never was."""
    for name in ("going", "staying"):
        await w.client.create(core.ServiceAccount(metadata=meta.ObjectMeta(name=name, namespace="default")))
    for name in ("going", "staying", "nobody"):
        made = secret(f"of-{name}")
        made.type = "kubernetes.io/service-account-token"
        made.metadata.annotations["kubernetes.io/service-account.name"] = name
        await w.client.create(made)
    await step()
    await w.edit(core.Secret, "of-staying", lambda found: found.data.pop("ca.crt"))
    await step()
    await w.client.delete(core.ServiceAccount, "going", "default")
    await step()


async def old_tokens(w: World) -> None:
    """Secrets that lie for years: two that their account lists, one of them marked long ago; one that is used, one that a pod names, one
    made by hand, and one that loses its pod."""
    account = core.ServiceAccount(metadata=meta.ObjectMeta(name="robot", namespace="default"))
    for name in ("idle", "forgotten", "used", "mounted", "left"):
        account.secrets.add(name=name)
    tracking = meta.ObjectMeta(name=TRACKING_NAME, namespace=TRACKING_NAMESPACE)
    w.api.seed(account, core.ConfigMap(metadata=tracking, data={SINCE: LONG_AGO}))
    for name in ("idle", "forgotten", "used", "mounted", "left", "by-hand"):
        made = secret(name)
        made.type = TYPE
        made.metadata.annotations[ACCOUNT] = "robot"
        made.metadata.creation_timestamp.CopyFrom(to_time(w.clock.now() - timedelta(days=3000)))
        labels = {"forgotten": {INVALID_SINCE: LONG_AGO}, "used": {LAST_USED: w.clock.now().strftime(DAY)}}
        made.metadata.labels.update(labels.get(name, {}))
        w.api.seed(made)
    for name in ("mounted", "left"):
        reader = pod(f"reader-of-{name}")
        reader.spec.volumes.add(name="key").volume_source.secret.secret_name = name
        w.api.seed(reader)
    await step()
    await w.client.delete(core.Pod, "reader-of-left", "default", grace_period_seconds=0)
    await step(86_400)
