"""Says whether services/web/bundle is what services/web/front makes, without making it: the bundle begins with a hash of its sources.

python -m tools.page --check
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

WEB = Path(__file__).resolve().parent.parent / "services" / "web"
_BANNER = re.compile(r"/\* sources: ([0-9a-f]{64}) \*/")
REPAIR = "cd services/web/front && npm ci && npm run build, then commit services/web/bundle with the sources"


def sources_hash(folder: Path = WEB / "front") -> str:
    """The same as in front/build.mjs: of all files but what npm fetched, by their paths."""
    paths = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] != "node_modules"
    )
    whole = hashlib.sha256()
    for path in paths:
        whole.update(f"{path}\n{hashlib.sha256((folder / path).read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def bundled_hash(bundle: Path = WEB / "bundle" / "page.js") -> str:
    """What the bundle says that it was made of; empty where it says nothing."""
    found = _BANNER.match(bundle.read_text()) if bundle.exists() else None
    return found.group(1) if found else ""


def main() -> int:
    if bundled_hash() == sources_hash():
        return 0
    print(f"services/web/bundle is not made of what lies in services/web/front: {REPAIR}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
