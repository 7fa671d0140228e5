"""What the kernel's memory.stat says of use, in the runtime port's words, whether an engine or the control group itself tells it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from services.kubelet.runtime.usage import UsageDetails

# Of cgroups v1 where such numbers are of the container with what is below it, else of v1 alone or v2.
_CACHE, _RSS, _MAPPED = ("total_cache", "cache", "file"), ("total_rss", "rss", "anon"), ("total_mapped_file", "mapped_file", "file_mapped")
_INACTIVE = ("total_inactive_file", "inactive_file")
_FAULTS, _MAJOR, _SWAP = ("total_pgfault", "pgfault"), ("total_pgmajfault", "pgmajfault"), ("total_swap", "swap")
# What v1 says for no limit is near the end of a signed number.
UNLIMITED = 1 << 62


def details_of_memory(told: Mapping[str, int]) -> UsageDetails:
    """As much of them as stands there; v2 does not tell there what is swapped out."""
    return UsageDetails(
        cache_bytes=_first(told, _CACHE),
        rss_bytes=_first(told, _RSS),
        mapped_bytes=_first(told, _MAPPED),
        swap_bytes=_first(told, _SWAP),
        page_faults=_first(told, _FAULTS),
        major_page_faults=_first(told, _MAJOR),
    )


def working_set(used_bytes: int, told: Mapping[str, int]) -> int:
    """Of the bytes in use those that are not pages of files which were used once and can be had back."""
    return max(used_bytes - _first(told, _INACTIVE), 0)


def _first(told: Mapping[str, int], names: tuple[str, ...]) -> int:
    return next((int(told[name]) for name in names if name in told), 0)
