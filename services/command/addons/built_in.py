"""The switches of what is built in (``knarr.objects.built_ins``), as the command turns them."""

from __future__ import annotations

from knarr.objects.built_ins import NAME, NAMESPACE, OFF
from services.command.addons.addon import Api

PATH = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}"


def is_off(api: Api, name: str) -> bool:
    return bool(((api.find(PATH) or {}).get("data") or {}).get(name) == OFF)


def turn(api: Api, name: str, *, on: bool) -> None:
    """Each add-on owns its own key, so that two commands at once do not undo one another."""
    data = {} if on else {name: OFF}
    api.apply(PATH, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": data}, manager=f"knarr-addon-{name}")
