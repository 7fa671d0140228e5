"""The kubelet's metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

PODS = Gauge("knarr_kubelet_pods", "Pods that have a worker on this node.")
ACTIONS = Counter("knarr_kubelet_actions_total", "Actions on pods by kind and result.", ["action", "result"])
ACTION_SECONDS = Histogram("knarr_kubelet_action_seconds", "Duration of actions on pods.", ["action"])
STATUS_WRITES = Counter("knarr_kubelet_status_writes_total", "Pod statuses written, by result.", ["result"])
ENGINE_WELL = Gauge("knarr_kubelet_engine_well", "1 while the container engine answers.")
PREEMPTIONS = Counter("knarr_kubelet_preemptions_total", "Pods that were ended for a critical one, by resource.", ["preemption_signal"])
EVICTIONS = Counter("knarr_kubelet_evictions_total", "Pods that were ended because the node ran short, by signal.", ["eviction_signal"])
