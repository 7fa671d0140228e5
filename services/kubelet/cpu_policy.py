"""How a node gives its processors to containers, as kubelet is told it: a policy, its options, what is kept for the system. Pure.

https://kubernetes.io/docs/tasks/administer-cluster/cpu-management-policies/
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

NONE, STATIC = "none", "static"
POLICIES = (NONE, STATIC)
# Kubernetes' options of the policy `static`, by the field that has them here.
OPTIONS = {
    "full-pcpus-only": "whole_cores",
    "distribute-cpus-across-numa": "across_numa",
    "strict-cpu-reservation": "strict",
}
# What Kubernetes has beside them.
ABSENT_OPTIONS = ("align-by-socket", "distribute-cpus-across-cores", "prefer-align-cpus-by-uncorecache")
# Far more than there are in a machine.
MOST_CPUS = 1 << 13
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")

CpuSet = frozenset[int]


@dataclass(frozen=True, slots=True)
class CpuPolicy:
    """Of a node. ``static``: containers of Guaranteed pods that ask for whole processors have them alone.

    ``whole_cores``: never the other thread of a core that somebody else has; ``across_numa``: who does not fit into one NUMA node gets as
    many in each; ``strict``: no pod runs on what is ``reserved``. Without a list of those, as many are as the node keeps for the system.
    """

    static: bool = False
    whole_cores: bool = False
    across_numa: bool = False
    strict: bool = False
    reserved: CpuSet = frozenset()

    @property
    def name(self) -> str:
        return STATIC if self.static else NONE

    @property
    def options(self) -> dict[str, str]:
        """Those that are on, by Kubernetes' names."""
        return {name: "true" for name, field in OPTIONS.items() if getattr(self, field)}


# Nobody has any alone.
ANY_CPU = CpuPolicy()


def parse_cpus(text: str) -> CpuSet:
    """``0-2,7``; raises ValueError."""
    found: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < MOST_CPUS:
            raise ValueError(f"{part!r} is neither a processor nor a range of them, like 0-3,8")
        found.update(range(first, last + 1))
    return frozenset(found)


def write_cpus(cpus: Collection[int]) -> str:
    """As the kernel writes them: ``0-2,7``."""
    ranges: list[list[int]] = []
    for cpu in sorted(cpus):
        if ranges and ranges[-1][1] == cpu - 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def parse_options(options: Mapping[str, str]) -> dict[str, bool]:
    """Fields of a ``CpuPolicy``; raises ValueError for what is none here."""
    found: dict[str, bool] = {}
    for name, value in options.items():
        if name in ABSENT_OPTIONS:
            raise ValueError(f"there is no option {name!r} here: leave it out; there are {', '.join(OPTIONS)}")
        if name not in OPTIONS:
            raise ValueError(f"{name!r} is no option of the policy {STATIC}; there are {', '.join(OPTIONS)}")
        if value.lower() not in ("true", "false"):
            raise ValueError(f"option {name!r} is true or false, not {value!r}")
        found[OPTIONS[name]] = value.lower() == "true"
    return found
