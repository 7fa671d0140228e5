"""What the tables of several kinds have in common: columns in one line, ages, lists, selectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from services.apiserver.strategies.duration import since
from services.apiserver.strategies.scale import selector_text
from services.apiserver.strategies.strategy import Column

NONE = "<none>"
UNKNOWN = "<unknown>"
UNSET = "<unset>"
SHORT_ACCESS_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def columns(*names: str, wide: Iterable[str] = (), integers: Iterable[str] = (), booleans: Iterable[str] = ()) -> tuple[Column, ...]:
    """Columns by name; ``wide`` ones are appended and shown only with ``-o wide``."""
    types = {**dict.fromkeys(integers, "integer"), **dict.fromkeys(booleans, "boolean")}

    def column(name: str, priority: int) -> Column:
        return Column(name, types.get(name, "string"), "name" if name == "Name" else "", priority)

    return (*(column(name, 0) for name in names), *(column(name, 1) for name in wide))


def age(obj: Any, now: datetime) -> str:
    return since(obj.metadata.creation_timestamp, now)


def labels_text(labels: Mapping[str, str]) -> str:
    """``a=b,c=d``, sorted; ``<none>`` for no label."""
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels)) or NONE


def template_cells(spec: Any) -> list[str]:
    """Containers, images and selector of a workload."""
    containers = spec.template.spec.containers
    names, images = ",".join(item.name for item in containers), ",".join(item.image for item in containers)
    return [names, images, selector_text(spec.selector) or NONE]


def access_modes_text(modes: Iterable[str]) -> str:
    """``RWO,ROX``, always in this order."""
    given = set(modes)
    return ",".join(short for mode, short in SHORT_ACCESS_MODES.items() if mode in given)
