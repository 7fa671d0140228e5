"""``/version``: what the server says it is."""

from __future__ import annotations

import hashlib
import platform

import orjson

from knarr.machinery.version import GIT_VERSION, MAJOR, MINOR
from knarr.service.architecture import own_architecture
from services.apiserver.rest.response import Response

# A build from a folder knows no commit, and clients only ask that it be one: of a version, always the same.
GIT_COMMIT = hashlib.sha1(GIT_VERSION.encode(), usedforsecurity=False).hexdigest()


def version_info() -> dict[str, str]:
    return {
        "major": MAJOR,
        "minor": MINOR,
        "gitVersion": GIT_VERSION,
        "gitCommit": GIT_COMMIT,
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation(),
        "platform": f"{platform.system().lower()}/{own_architecture()}",
    }


def version_response() -> Response:
    return Response(orjson.dumps(version_info()))
