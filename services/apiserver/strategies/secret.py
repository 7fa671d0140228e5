"""The strategy of Secrets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import orjson

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, check_format, check_immutable, config_key, invalid, required, too_long
from knarr.objects.account_tokens import ACCOUNT, TYPE
from services.apiserver.strategies.frozen import DATA_LIMIT_BYTES, validate_frozen
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns

OPAQUE = "Opaque"
DATA = Path("data")
JSON_KEYS = {"kubernetes.io/dockercfg": ".dockercfg", "kubernetes.io/dockerconfigjson": ".dockerconfigjson"}
REQUIRED_KEYS = {
    **{type_: (key,) for type_, key in JSON_KEYS.items()},
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


class SecretStrategy(Strategy):
    """``stringData`` is write-only: it is merged into ``data`` and never stored."""

    columns = columns("Name", "Type", "Data", "Age")

    selectable_field_names = ("type",)

    def default(self, obj: core.Secret) -> None:
        obj.type = obj.type or OPAQUE
        for key, text in obj.string_data.items():
            obj.data[key] = text.encode()
        obj.ClearField("string_data")

    def selectable_fields(self, obj: core.Secret) -> Mapping[str, str]:
        return {"type": obj.type}

    def validate(self, obj: core.Secret) -> list[Cause]:
        causes = [cause for key in sorted(obj.data) for cause in check_format(DATA.key(key), key, config_key)]
        if sum(map(len, obj.data.values())) > DATA_LIMIT_BYTES:
            causes.append(too_long(DATA, DATA_LIMIT_BYTES))
        return causes + _required_keys(obj)

    def validate_update(self, new: core.Secret, old: core.Secret) -> list[Cause]:
        return check_immutable(Path("type"), new.type, old.type) + validate_frozen(new, old, ("data",))

    def cells(self, obj: core.Secret, now: datetime) -> list[object]:
        return [obj.metadata.name, obj.type, len(obj.data), age(obj, now)]


def _required_keys(secret: core.Secret) -> list[Cause]:
    """The keys that Kubernetes' own secret types must have."""
    if secret.type == TYPE:
        named = secret.metadata.annotations.get(ACCOUNT)
        return [] if named else [required(Path("metadata.annotations").key(ACCOUNT))]
    if secret.type == "kubernetes.io/basic-auth" and not {"username", "password"} & set(secret.data):
        return [required(DATA.key("username")), required(DATA.key("password"))]
    causes = [required(DATA.key(key)) for key in REQUIRED_KEYS.get(secret.type, ()) if key not in secret.data]
    json_key = JSON_KEYS.get(secret.type)
    if json_key and json_key in secret.data and (problem := _not_an_object(secret.data[json_key])):
        causes.append(invalid(DATA.key(json_key), "<secret contents redacted>", problem))
    return causes


def _not_an_object(text: bytes) -> str:
    """Why some bytes are no JSON object; empty when they are one."""
    try:
        # Not the library's own reader, which fails in its own way on what is nested deeply.
        found = orjson.loads(text)
    except ValueError as error:
        return str(error)
    return "" if found is None or isinstance(found, dict) else "must be a JSON object"
