"""What ``knarr up`` keeps unless it is told otherwise: who changed what, and who looked at secrets. No objects, no answers.

What the cluster's own components read and write on behalf of others is left out, as are probes and what only says that somebody lives.
"""

from __future__ import annotations

from services.apiserver.audit.policy import RECEIVED, Level, Policy, Resources, Rule

READS = ("get", "list", "watch")
SILENT = (
    Resources("", ("events", "endpoints", "*/status")),
    Resources("events.k8s.io", ("events",)),
    Resources("coordination.k8s.io", ("leases",)),
    Resources("discovery.k8s.io", ("endpointslices",)),
    Resources("apps", ("*/status",)),
    Resources("batch", ("*/status",)),
)
SECRET = (Resources("", ("secrets", "serviceaccounts/token")), Resources("authentication.k8s.io", ("tokenreviews",)))
COMPONENTS = (
    "system:apiserver",
    "system:kube-controller-manager",
    "system:kube-scheduler",
    "system:kube-proxy",
    "system:cloud-controller-manager",
    "system:kube-apiserver",
    "system:kube-dns",
    "system:knarr-gateway",
    "system:knarr",
)

DEFAULT_POLICY = Policy(
    [
        Rule(Level.NONE, resources=SILENT),
        Rule(Level.NONE, verbs=READS, users=COMPONENTS),
        Rule(Level.NONE, verbs=READS, groups=("system:nodes",)),
        Rule(Level.METADATA, resources=SECRET),
        Rule(Level.NONE, verbs=(*READS, "head", "options")),
        Rule(Level.METADATA),
    ],
    frozenset((RECEIVED,)),
)
