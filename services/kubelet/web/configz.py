"""/configz: the kubelet's settings in the words of Kubernetes' KubeletConfiguration. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from knarr.machinery.forms import write_duration
from knarr.machinery.quantity import Notation, Quantity
from knarr.objects.amounts import CPU
from services.kubelet.cpu_policy import write_cpus
from services.kubelet.settings import KubeletSettings
from services.kubelet.thresholds import ALLOCATABLE_MEMORY, Amount, Threshold


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
        "containerRuntimeEndpoint": settings.container_runtime_endpoint,
        "serializeImagePulls": settings.max_parallel_pulls == 1,
        "containerLogMaxSize": _amount(Amount(settings.container_log_max_bytes)),
        "containerLogMaxFiles": settings.container_log_max_files,
        "imagePullCredentialsVerificationPolicy": settings.image_verification.policy,
        **_garbage(settings),
        **_evictions(settings),
        **_reserved(settings),
        **_shutdown(settings),
        **_cpus(settings),
    }
    if settings.image_verification.allowlist:
        found["preloadedImagesVerificationAllowlist"] = list(settings.image_verification.allowlist)
    if settings.max_parallel_pulls > 1:
        found["maxParallelImagePulls"] = settings.max_parallel_pulls
    if settings.manifest_path is not None:
        found["staticPodPath"] = str(settings.manifest_path)
    if settings.allowed_unsafe_sysctls:
        found["allowedUnsafeSysctls"] = list(settings.allowed_unsafe_sysctls)
    if settings.taints:
        found["registerWithTaints"] = [_taint(text) for text in settings.taints]
    return {"kubeletconfig": found}


def _garbage(settings: KubeletSettings) -> dict[str, Any]:
    rules = settings.image_garbage
    return {
        "imageGCHighThresholdPercent": rules.high_percent,
        "imageGCLowThresholdPercent": rules.low_percent,
        "imageMinimumGCAge": _duration(rules.minimum_age),
        "imageMaximumGCAge": _duration(rules.maximum_unused),
    }


def _evictions(settings: KubeletSettings) -> dict[str, Any]:
    told = [threshold for threshold in settings.thresholds if threshold.signal != ALLOCATABLE_MEMORY]
    soft = [threshold for threshold in told if not threshold.hard]
    by_signal = {
        "evictionHard": _amounts(threshold for threshold in told if threshold.hard),
        "evictionSoft": _amounts(soft),
        "evictionSoftGracePeriod": {threshold.signal: _duration(threshold.grace) for threshold in soft},
        "evictionMinimumReclaim": {one.signal: _amount(one.reclaim) for one in told if one.reclaim != Amount()},
    }
    return {
        **{name: found for name, found in by_signal.items() if found},
        "evictionPressureTransitionPeriod": _duration(timedelta(seconds=settings.pressure_transition_seconds)),
        "evictionMaxPodGracePeriod": int(settings.eviction_max_pod_grace_seconds),
    }


def _reserved(settings: KubeletSettings) -> dict[str, Any]:
    found = {"kubeReserved": settings.kube_reserved, "systemReserved": settings.system_reserved}
    return {name: _whole(amounts) for name, amounts in found.items() if amounts}


def _cpus(settings: KubeletSettings) -> dict[str, Any]:
    policy = settings.cpu_policy
    found: dict[str, Any] = {"cpuManagerPolicy": policy.name, "memoryManagerPolicy": "None", "topologyManagerPolicy": "none"}
    found |= {"failSwapOn": settings.fail_swap_on, "memorySwap": {"swapBehavior": settings.swap_behavior}}
    if policy.options:
        found["cpuManagerPolicyOptions"] = policy.options
    if policy.reserved:
        found["reservedSystemCPUs"] = write_cpus(policy.reserved)
    return found


def _shutdown(settings: KubeletSettings) -> dict[str, Any]:
    periods = [{"priority": one.priority, "shutdownGracePeriodSeconds": int(one.seconds)} for one in settings.shutdown_periods]
    return {"shutdownGracePeriodByPodPriority": periods} if periods else {}


def _whole(amounts: Mapping[str, int]) -> dict[str, str]:
    """Of milli-CPU, bytes and processes."""
    return {name: f"{amount}m" if name == CPU else _amount(Amount(amount)) for name, amount in amounts.items()}


def _amounts(thresholds: Iterable[Threshold]) -> dict[str, str]:
    return {threshold.signal: _amount(threshold.amount) for threshold in thresholds}


def _amount(amount: Amount) -> str:
    return f"{(amount.share * 100).normalize():f}%" if amount.share else str(Quantity(Decimal(amount.number), Notation.BINARY))


def _duration(time: timedelta) -> str:
    return write_duration(round(time.total_seconds() * 1_000_000_000))


def _taint(text: str) -> dict[str, str]:
    key_value, _, effect = text.rpartition(":")
    key, _, value = key_value.partition("=")
    return {"key": key, "value": value, "effect": effect}
