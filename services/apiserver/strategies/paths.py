"""The parts that objects have at their top, as paths in causes."""

from __future__ import annotations

from knarr.machinery.validation import Path

METADATA, SPEC, STATUS = Path("metadata"), Path("spec"), Path("status")
ANNOTATIONS = METADATA.child("annotations")
