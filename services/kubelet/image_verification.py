"""Which images that lie on the node a pod must show logins for, although nothing is left to be pulled. Pure.

https://kubernetes.io/docs/concepts/containers/images/#ensureimagepullcredentialverification
"""

from __future__ import annotations

from dataclasses import dataclass

from knarr.objects.images import valid_image
from services.kubelet.image_match import repository_of

NEVER_VERIFY, ALWAYS_VERIFY = "NeverVerify", "AlwaysVerify"
NEVER_PRELOADED, NEVER_ALLOWLISTED = "NeverVerifyPreloadedImages", "NeverVerifyAllowlistedImages"
POLICIES = (NEVER_VERIFY, NEVER_PRELOADED, NEVER_ALLOWLISTED, ALWAYS_VERIFY)
# At the end of a pattern: whatever lies below.
BELOW = "/*"


@dataclass(frozen=True, slots=True)
class ImageVerification:
    """``allowlist`` are repositories, or beginnings of them before ``/*``, that NeverVerifyAllowlistedImages spares."""

    policy: str = NEVER_PRELOADED
    allowlist: tuple[str, ...] = ()

    def asks(self, repository: str, pulled_here: bool) -> bool:
        """Whether a pod must show that it may have an image of ``repository``; ``pulled_here``: this node's kubelet has fetched it."""
        if self.policy == NEVER_ALLOWLISTED:
            return not any(_allows(pattern, repository) for pattern in self.allowlist)
        return self.policy == ALWAYS_VERIFY or (self.policy == NEVER_PRELOADED and pulled_here)


DEFAULT_VERIFICATION = ImageVerification()


def image_verification(policy: str, patterns: tuple[str, ...]) -> ImageVerification:
    """Raises ValueError for what is no pattern, or patterns that the policy does not look at."""
    if patterns and policy != NEVER_ALLOWLISTED:
        raise ValueError(f"a list of images is for the policy {NEVER_ALLOWLISTED}")
    return ImageVerification(policy, tuple(map(_checked, patterns)))


def _allows(pattern: str, repository: str) -> bool:
    return repository.startswith(pattern.removesuffix("*")) if pattern.endswith(BELOW) else repository == pattern


def _checked(pattern: str) -> str:
    """The pattern with its registry."""
    name = pattern.removesuffix(BELOW)
    if not name or "*" in name or not valid_image(name):
        raise ValueError(f"{pattern!r} is no repository like registry.io/app, nor one like registry.io/team{BELOW} for all below it")
    if pattern.endswith(BELOW):
        return pattern
    if ":" in name.rpartition("/")[2] or "@" in name:
        raise ValueError(f"{pattern!r} has a tag or digest: a repository is named without")
    return repository_of(name)
