"""What plugins of the scheduler in packages of their own are made of: its modules have other names in a checkout than in a wheel."""

from services.scheduler.nodes import Mask, Nodes, Rows
from services.scheduler.parts import NODE_LABELS, Part, Subject
from services.scheduler.placed_cache import PlacedCache
from services.scheduler.plugin import Cluster, Plugin, Scores, normalized
from services.scheduler.pod_facts import PodFacts
from services.scheduler.row_cache import RowCache

__all__ = [
    "NODE_LABELS",
    "Cluster",
    "Mask",
    "Nodes",
    "Part",
    "PlacedCache",
    "Plugin",
    "PodFacts",
    "RowCache",
    "Rows",
    "Scores",
    "Subject",
    "normalized",
]
