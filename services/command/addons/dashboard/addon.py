"""dashboard: the page, which `knarr ui` serves on the machine of whoever looks.

Nothing of it runs in the cluster, and so nothing can be switched on or off: a page in a pod would need an identity of its own that sees
what its viewers may not, or a login; this one is opened by the kubeconfig of who looks.
"""

from __future__ import annotations

from collections.abc import Sequence

from knarr.service.errors import CommandError
from services.command.addons.addon import ON, Place, State, Tell


class Dashboard:
    name = "dashboard"
    what = "a page in the browser; `knarr ui` serves it for as long as somebody looks"
    built_in = True

    def state(self, place: Place) -> State:
        return State(ON, "", {"command": "knarr ui"})

    def enable(self, place: Place, tell: Tell) -> Sequence[str]:
        return ("`knarr ui` opens it, as whom your kubeconfig names: nothing of it runs in the cluster",)

    def disable(self, place: Place, tell: Tell) -> Sequence[str]:
        raise CommandError("the dashboard is no part of the cluster: it is there while `knarr ui` runs, and Ctrl-C ends that")
