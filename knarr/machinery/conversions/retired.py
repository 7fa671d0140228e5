"""Versions that Kubernetes has retired, of kinds that are stored in later ones, as Kubernetes 1.21 to 1.24 converted them. Pure.

CronJobs of ``batch/v1beta1`` have the fields of ``batch/v1``. In ``policy/v1beta1`` an empty selector takes no pods, in ``policy/v1`` all
of them: each stands in the other for what it means. ``discovery.k8s.io/v1beta1`` has an endpoint's zone and node among the labels of its
place. In ``flowcontrol.apiserver.k8s.io/v1beta1`` the shares of a level have another name, and what it lends and borrows none at all.
"""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import Message

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.batch.v1beta1 import batch_pb2 as old_batch
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.discovery.v1beta1 import discovery_pb2 as old_discovery
from knarr.api.flowcontrol.v1 import flowcontrol_pb2 as flowcontrol
from knarr.api.flowcontrol.v1beta1 import flowcontrol_pb2 as old_flowcontrol
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.api.policy.v1beta1 import policy_pb2 as old_policy
from knarr.machinery.conversions.fields import copied
from knarr.machinery.resources import Conversion

M = TypeVar("M", bound=Message)

EMPTY_MATCH = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match"
EVERYTHING = meta.LabelSelector()
NO_PODS = meta.LabelSelector(match_expressions=[meta.LabelSelectorRequirement(key=EMPTY_MATCH, operator="Exists")])
ALL_PODS = meta.LabelSelector(match_expressions=[meta.LabelSelectorRequirement(key=EMPTY_MATCH, operator="DoesNotExist")])
ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
SLICE = ("metadata", "address_type", "ports")
ENDPOINT = ("addresses", "conditions", "hostname", "target_ref", "node_name", "hints")


def _alike(source: Message, target: M) -> M:
    """The other version's message of one that has the same fields by number."""
    target.MergeFromString(source.SerializeToString())
    return target


def to_cron_job(given: old_batch.CronJob) -> batch.CronJob:
    return _alike(given, batch.CronJob())


def from_cron_job(stored: batch.CronJob) -> old_batch.CronJob:
    return _alike(stored, old_batch.CronJob())


def to_budget(given: old_policy.PodDisruptionBudget) -> policy.PodDisruptionBudget:
    found = _alike(given, policy.PodDisruptionBudget())
    if given.spec.HasField("selector"):
        if given.spec.selector == EVERYTHING:
            found.spec.selector.CopyFrom(NO_PODS)
        elif given.spec.selector == ALL_PODS:
            found.spec.selector.Clear()
    return found


def from_budget(stored: policy.PodDisruptionBudget) -> old_policy.PodDisruptionBudget:
    found = _alike(stored, old_policy.PodDisruptionBudget())
    if stored.spec.HasField("selector"):
        if stored.spec.selector == NO_PODS:
            found.spec.selector.Clear()
        elif stored.spec.selector == EVERYTHING:
            found.spec.selector.CopyFrom(ALL_PODS)
    return found


def to_slice(given: old_discovery.EndpointSlice) -> discovery.EndpointSlice:
    found: discovery.EndpointSlice = copied(given, discovery.EndpointSlice(), SLICE)
    for old in given.endpoints:
        new = copied(old, found.endpoints.add(), ENDPOINT)
        labels = dict(old.topology)
        if ZONE in labels:
            new.zone = labels.pop(ZONE)
        if HOSTNAME in labels and (not old.HasField("node_name") or labels[HOSTNAME] == old.node_name):
            new.node_name = labels.pop(HOSTNAME)
        new.deprecated_topology.update(labels)
    return found


def from_slice(stored: discovery.EndpointSlice) -> old_discovery.EndpointSlice:
    found: old_discovery.EndpointSlice = copied(stored, old_discovery.EndpointSlice(), SLICE)
    for new in stored.endpoints:
        old = copied(new, found.endpoints.add(), ENDPOINT)
        old.topology.update(new.deprecated_topology)
        if new.HasField("zone"):
            old.topology[ZONE] = new.zone
        if new.HasField("node_name") and not old.topology.get(HOSTNAME):
            old.topology[HOSTNAME] = new.node_name
    return found


def to_flow_schema(given: old_flowcontrol.FlowSchema) -> flowcontrol.FlowSchema:
    return _alike(given, flowcontrol.FlowSchema())


def from_flow_schema(stored: flowcontrol.FlowSchema) -> old_flowcontrol.FlowSchema:
    return _alike(stored, old_flowcontrol.FlowSchema())


def to_level(given: old_flowcontrol.PriorityLevelConfiguration) -> flowcontrol.PriorityLevelConfiguration:
    return _alike(given, flowcontrol.PriorityLevelConfiguration())


def from_level(stored: flowcontrol.PriorityLevelConfiguration) -> old_flowcontrol.PriorityLevelConfiguration:
    return _alike(stored, old_flowcontrol.PriorityLevelConfiguration())


BATCH_V1BETA1 = Conversion(to_cron_job, from_cron_job)
POLICY_V1BETA1 = Conversion(to_budget, from_budget)
DISCOVERY_V1BETA1 = Conversion(to_slice, from_slice)
FLOW_SCHEMA_V1BETA1 = Conversion(to_flow_schema, from_flow_schema)
LEVEL_V1BETA1 = Conversion(to_level, from_level)
