"""Metrics in Prometheus' text format."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})

# Labels, value, and the time of it in milliseconds since 1970, or None.
Sample = tuple[Mapping[str, str], float, int | None]


def family(name: str, kind: str, words: str, samples: Iterable[Sample]) -> list[str]:
    """The lines of one metric; none where it has no samples. ``kind`` is counter or gauge."""
    lines = [_line(name, *sample) for sample in samples]
    return [f"# HELP {name} {words}", f"# TYPE {name} {kind}", *lines] if lines else []


def _line(name: str, labels: Mapping[str, str], value: float, milliseconds: int | None) -> str:
    told = ",".join(f'{label}="{text.translate(_ESCAPES)}"' for label, text in labels.items())
    braced = f"{{{told}}}" if told else ""
    return f"{name}{braced} {_number(value)}{'' if milliseconds is None else f' {milliseconds}'}"


def _number(value: float) -> str:
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1 << 53):
        return str(int(value))
    return repr(value)
