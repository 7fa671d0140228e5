"""``make bench``: measures, prints a table, writes bench/results.json. ``make bench ONLY=name`` runs one."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from pathlib import Path

from bench.cluster import require_root
from bench.result import Result, table

RESULTS = Path(__file__).parent / "results.json"
# What is measured of each datapath, after the keep-alive requests that have the name alone.
DATAPATH_SUFFIXES = ("", "-connections", "-throughput", "-latency", "-memory")
# What measures what: several names may come from one run.
MEASUREMENTS = {
    "bench.workloads:up_ready": ["up-ready"],
    "bench.in_process:starts": ["inprocess-memory", "inprocess-whole", "inprocess-etcd"],
    "bench.workloads:deploy_heal_memory": ["deploy-20", "heal-pod", "memory"],
    "bench.memory:memory_pods": ["memory-pods"],
    "bench.memory:memory_after": ["memory-after"],
    "bench.definitions:definitions_memory": ["definitions-memory"],
    "bench.pods:pod_start": ["pod-start"],
    "bench.pods:pod_burst": ["pod-burst"],
    "bench.pods:pod_burst_simulated": ["pod-burst-simulated"],
    "bench.pods:container_restart": ["container-restart"],
    "bench.ways_in:exec_round_trip": ["exec", "exec-kubectl"],
    "bench.ways_in:port_forward": ["port-forward"],
    "bench.ways_in:log_follow": ["log-follow"],
    "bench.node:kubelet_full": ["kubelet-idle", "kubelet-memory", "kubelet-probes"],
    "bench.controllers:many_deployments": ["deployments-500"],
    "bench.controllers:one_deployment": ["replicas-1000"],
    "bench.controllers:one_job": ["job-1000"],
    "bench.controllers:namespace_deleted": ["namespace-1000"],
    "bench.controllers:idle": ["idle-5000"],
    "bench.hollow_curve:ten_deployments": ["hollow-1000-rest", "hollow-10000", "hollow-10000-memory"],
    "bench.autoscaling:autoscale_decision": ["autoscale-decision"],
    "bench.api:api_rates": ["api-get", "api-list", "api-create"],
    "bench.api:watch_fanout": ["watch-fanout"],
    "bench.reads:peer_reads": ["peer-get", "peer-list", "peer-list-gzip"],
    "bench.reads:long_list": ["list-300000", "list-300000-first", "list-300000-others", "list-300000-memory"],
    "bench.reads:many_pods": ["memory-10000-pods"],
    "bench.reads:many_watchers": ["watch-1000"],
    "bench.writes:peer_create": ["peer-create"],
    "bench.writes:peer_update": ["peer-update"],
    "bench.writes:peer_apply": ["peer-apply"],
    "bench.authorization:rbac_decision": ["rbac-decision", "rbac-decision-1000"],
    "bench.audit:audit_overhead": ["audit-get", "audit-list", "audit-create"],
    "bench.guards:guards_overhead": ["guarded-get", "guarded-list", "guarded-create"],
    "bench.fairness:fairness": ["fairness-p99"],
    "bench.custom:custom_create": ["custom-create"],
    "bench.custom:custom_list": ["custom-list"],
    "bench.webhooks:webhook_create": ["webhook-create"],
    "bench.loop_lag:loop_lag": ["loop-lag"],
    "bench.scheduler:decisions": [
        "scheduler-decisions-1000",
        "scheduler-decisions",
        "scheduler-spreading",
        "scheduler-spreading-soft",
        "scheduler-node-affinity",
        "scheduler-anti-affinity",
        "scheduler-affinity",
        "scheduler-preferred-affinity",
        "scheduler-mixed",
        "scheduler-preemption",
    ],
    "bench.scheduler:memory": ["scheduler-memory"],
    "bench.binding:bindings": ["scheduler-binding-1000", "scheduler-binding-5000"],
    "bench.proxy:proxy_nftables": [f"proxy-nftables{suffix}" for suffix in DATAPATH_SUFFIXES],
    "bench.proxy:proxy_userspace": [f"proxy-userspace{suffix}" for suffix in DATAPATH_SUFFIXES],
    "bench.services:many_services": ["services-first", "services-change", "services-first-packet"],
    "bench.policy:many_policies": ["policies-first", "policies-change"],
    "bench.dns:dns_rate": ["dns-rate", "dns-p99"],
    "bench.gateway:gateway_change": ["gateway-change", "gateway-change-anew", "gateway-memory"],
    "bench.gateway:gateway_load": ["gateway-load", "gateway-load-memory"],
    "bench.gateway:gateway_rate": ["gateway-rate"],
    "bench.ha:leader_failover": ["failover-crash", "failover-stop"],
    "bench.page:page": ["page-first-paint", "page-memory", "page-cpu"],
    "bench.compose:compose_up": ["compose-up", "compose-memory", "node-memory", "compose-rollout"],
}


def chosen(only: str) -> list[str]:
    """The measurements to run; all without a name."""
    if not only:
        return list(MEASUREMENTS)
    found = [target for target, names in MEASUREMENTS.items() if only in names]
    if not found:
        known = ", ".join(name for names in MEASUREMENTS.values() for name in names)
        raise SystemExit(f"error: no measurement is called {only!r}; there are: {known}")
    return found


def save(results: list[Result]) -> None:
    """Replaces these results in the file and keeps the others."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    fresh = {result.name: result.as_dict() for result in results}
    order = [name for names in MEASUREMENTS.values() for name in names]
    merged = {**{entry["name"]: entry for entry in kept}, **fresh}
    RESULTS.write_text(json.dumps([merged[name] for name in order if name in merged], indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    targets = chosen(only)
    require_root()
    results: list[Result] = []
    for target in targets:
        module, _, function = target.partition(":")
        print(f"measuring {', '.join(MEASUREMENTS[target])} …", flush=True)
        started = time.monotonic()
        found = asyncio.run(getattr(importlib.import_module(module), function)())
        results += [result for result in found if not only or result.name == only]
        print(f"  {time.monotonic() - started:.0f} s", flush=True)
        save(found)
    print(table(results))


if __name__ == "__main__":
    main()
