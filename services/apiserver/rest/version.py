"""What the server says it is."""

from __future__ import annotations

import platform

import orjson

from services.apiserver.rest.response import Response

# The Kubernetes API that is served: its message types are those of 1.32. Clients compare versions
# to decide which features to try (kubectl warns beyond one minor of skew), so it leads.
MAJOR, MINOR, PATCH = "1", "32", "3"
BUILD = "knarr.0.1"
GIT_VERSION = f"v{MAJOR}.{MINOR}.{PATCH}+{BUILD}"
_GO_PLATFORM = {"x86_64": "amd64", "aarch64": "arm64"}


def version_info() -> dict[str, str]:
    machine = platform.machine()
    return {
        "major": MAJOR,
        "minor": MINOR,
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation(),
        "platform": f"{platform.system().lower()}/{_GO_PLATFORM.get(machine, machine)}",
    }


def version_response() -> Response:
    return Response(orjson.dumps(version_info()))
