"""Writes docs/knarr.schema.json, the JSON schema of knarr.yaml, from the options of `knarr up`.

python -m tools.cluster_schema
"""

from __future__ import annotations

import json
from pathlib import Path

from services.standalone.cluster_file import schema

FILE = Path(__file__).resolve().parent.parent / "docs" / "knarr.schema.json"


def text() -> str:
    """The whole of it."""
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
    print(FILE.name)
