"""What options name of the API server's parts: admission plugins, and those who decide what callers may do."""

from __future__ import annotations

import argparse
from collections.abc import Collection

from knarr.service.errors import CommandError
from services.apiserver.admission.catalog import NAMES
from services.apiserver.authorizers.catalog import MODES
from services.apiserver.authorizers.configuration import WEBHOOK


def plugins(text: str) -> frozenset[str]:
    """The admission plugins that an option names."""
    found = frozenset(part for part in text.split(",") if part)
    if unknown := sorted(found - NAMES.keys()):
        raise argparse.ArgumentTypeError(f"there is no admission plugin {', '.join(unknown)}; there are {', '.join(sorted(NAMES))}")
    return found


def check_plugins(enabled: Collection[str], disabled: Collection[str]) -> None:
    """Raises CommandError for plugins that are both turned on and off."""
    if both := sorted(set(enabled) & set(disabled)):
        raise CommandError(f"{', '.join(both)}: in --enable-admission-plugins and in --disable-admission-plugins")


def authorization_modes(text: str) -> tuple[str, ...]:
    """Those who decide, by Kubernetes' names for them."""
    found = tuple(part for part in text.split(",") if part)
    for name in found:
        if name not in MODES:
            hint = "; give it by --authorization-config" if name == WEBHOOK else ""
            raise argparse.ArgumentTypeError(f"there is no {name!r}{hint}; there are {', '.join(MODES)}")
    if not found or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"{text!r} must name one at least, and each once")
    return found
