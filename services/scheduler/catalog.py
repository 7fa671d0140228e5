"""The plugins and their order: the first filter that refuses a node is the one that is named."""

from __future__ import annotations

from collections.abc import Mapping

from services.scheduler.plugin import Plugin
from services.scheduler.plugins.balancedallocation.plugin import BalancedAllocation
from services.scheduler.plugins.dynamicresources.plugin import DynamicResources
from services.scheduler.plugins.imagelocality.plugin import ImageLocality
from services.scheduler.plugins.interpodaffinity.plugin import InterPodAffinity
from services.scheduler.plugins.node_affinity.plugin import NodeAffinity
from services.scheduler.plugins.node_name.plugin import NodeName
from services.scheduler.plugins.podtopologyspread.plugin import PodTopologySpread
from services.scheduler.plugins.ports.plugin import Ports
from services.scheduler.plugins.resources.plugin import Resources
from services.scheduler.plugins.taints.plugin import Taints
from services.scheduler.plugins.unschedulable.plugin import Unschedulable
from services.scheduler.plugins.volumebinding.plugin import VolumeBinding
from services.scheduler.plugins.volumelimits.plugin import VolumeLimits
from services.scheduler.plugins.volumerestrictions.plugin import VolumeRestrictions
from services.scheduler.plugins.volumezone.plugin import VolumeZone

PLUGINS: tuple[type[Plugin], ...] = (
    Unschedulable,
    NodeName,
    Taints,
    NodeAffinity,
    Ports,
    Resources,
    VolumeRestrictions,
    VolumeLimits,
    VolumeBinding,
    VolumeZone,
    PodTopologySpread,
    InterPodAffinity,
    DynamicResources,
    BalancedAllocation,
    ImageLocality,
)

# What Kubernetes lets plugins of these names do besides: it prepares in a step of its own what filters and scores here do at once.
_PREPARED = frozenset({"preFilter"})
_SCORED = frozenset({"preScore"})
ALSO_EXTENDS: Mapping[str, frozenset[str]] = {
    "TaintToleration": _SCORED,
    "NodeAffinity": _PREPARED | _SCORED,
    "NodePorts": _PREPARED,
    "NodeResourcesFit": _PREPARED | _SCORED,
    "VolumeRestrictions": _PREPARED,
    "NodeVolumeLimits": _PREPARED,
    "VolumeBinding": _PREPARED | _SCORED | {"reserve", "score"},
    "VolumeZone": _PREPARED,
    "PodTopologySpread": _PREPARED | _SCORED,
    "InterPodAffinity": _PREPARED | _SCORED,
    "DynamicResources": frozenset({"preEnqueue", "reserve"}),
    "NodeResourcesBalancedAllocation": _SCORED,
}
