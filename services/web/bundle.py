"""The page's files, as they were built and committed."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "bundle"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".txt": "text/plain",
}


class Bundle:
    """Small enough to be kept: read once."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in TYPES}

    def file(self, name: str) -> tuple[bytes, str]:
        """The bytes and what they are, as HTTP calls it; raises KeyError."""
        return self._files[name], TYPES[Path(name).suffix]
