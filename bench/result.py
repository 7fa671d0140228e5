"""One measured figure, beside its peer and its target."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Result:
    """``ratio`` is value / peer_value. ``target`` says in words what ``ok`` was judged by."""

    name: str
    value: float
    unit: str
    peer: str
    peer_value: float
    target: str
    ok: bool

    @property
    def ratio(self) -> float:
        return self.value / self.peer_value if self.peer_value else 0.0

    def as_dict(self) -> dict[str, Any]:
        fields = asdict(self)
        return {
            "name": self.name, "value": round(self.value, 3), "unit": self.unit, "peer": self.peer,
            "peer_value": round(self.peer_value, 3), "ratio": round(self.ratio, 3), "target": self.target, "ok": fields["ok"],
        }  # fmt: skip


def table(results: list[Result]) -> str:
    """The results as aligned text."""
    rows = [("name", "value", "unit", "peer", "peer value", "ratio", "target", "ok")]
    rows += [
        (r.name, f"{r.value:,.3g}" if r.value < 100 else f"{r.value:,.0f}", r.unit, r.peer,
         f"{r.peer_value:,.3g}" if r.peer_value < 100 else f"{r.peer_value:,.0f}", f"{r.ratio:.2f}", r.target, "yes" if r.ok else "NO")
        for r in results
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
