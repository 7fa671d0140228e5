"""/configz: the kubelet's settings in the words of Kubernetes' KubeletConfiguration. Pure."""

from __future__ import annotations

from typing import Any

from services.kubelet.settings import KubeletSettings


def configz(settings: KubeletSettings) -> dict[str, Any]:
    """What there is a field for there."""
    found: dict[str, Any] = {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "address": settings.node_ip,
        "port": settings.port,
        "authentication": {
            "x509": {},
            "webhook": {"enabled": True, "cacheTTL": "2m0s"},
            "anonymous": {"enabled": False},
        },
        "authorization": {"mode": "Webhook", "webhook": {"cacheAuthorizedTTL": "10s", "cacheUnauthorizedTTL": "10s"}},
        "clusterDomain": settings.cluster_domain,
        "clusterDNS": [settings.cluster_dns] if settings.cluster_dns else [],
        "maxPods": settings.max_pods,
        "podCIDR": settings.pod_cidr,
        "resolvConf": str(settings.resolv_conf),
        "nodeLeaseDurationSeconds": settings.lease_duration_seconds,
        "nodeStatusUpdateFrequency": f"{settings.status_check_seconds:g}s",
        "nodeStatusReportFrequency": f"{settings.status_report_seconds:g}s",
        "registerNode": True,
        "enableServer": True,
        "enableDebuggingHandlers": True,
        "enableSystemLogHandler": True,
        "providerID": settings.provider_id,
    }
    if settings.taints:
        found["registerWithTaints"] = [_taint(text) for text in settings.taints]
    return {"kubeletconfig": found}


def _taint(text: str) -> dict[str, str]:
    key_value, _, effect = text.rpartition(":")
    key, _, value = key_value.partition("=")
    return {"key": key, "value": value, "effect": effect}
