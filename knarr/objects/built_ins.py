"""What a cluster has built in and may do without: one ConfigMap says what is switched off, so that it stays so over every start.

``data`` has a name and ``off`` for each; whatever else it says, and where there is no ConfigMap, all of it is on.
"""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core

NAMESPACE, NAME = "kube-system", "knarr-built-ins"
OFF = "off"
# The group metrics.k8s.io, and the class of storage that every cluster begins with.
METRICS, LOCAL_PATH = "metrics", "local-path"


def is_off(switches: core.ConfigMap | None, name: str) -> bool:
    return switches is not None and switches.data.get(name) == OFF
