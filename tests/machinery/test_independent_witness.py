"""Names and types against the models of the official Python client, which were made from Kubernetes' own OpenAPI."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from kubernetes.client import models

import knarr.api
from knarr.machinery.schema import SCALARS, Field, Form, form_of, json_fields
from knarr.machinery.type_names import GROUPS, api_version_and_kind

FORMS: dict[int, str] = {
    Form.JSON_FORM_QUANTITY: "str",
    Form.JSON_FORM_INT_OR_STRING: "object",
    Form.JSON_FORM_TIME: "datetime",
    Form.JSON_FORM_MICRO_TIME: "datetime",
    Form.JSON_FORM_DURATION: "str",
    Form.JSON_FORM_RAW: "object",
    Form.JSON_FORM_LIST: "List[str]",
    Form.JSON_FORM_SCHEMA_OR_ARRAY: "object",
    Form.JSON_FORM_SCHEMA_OR_BOOL: "object",
    Form.JSON_FORM_SCHEMA_OR_STRING_ARRAY: "object",
}
PYTHON = {"string": "str", "bool": "bool", "int32": "int", "int64": "int", "[]uint8": "bytes", "float64": "float"}
TYPE_META = {"apiVersion", "kind"}


def model_of(message: Descriptor) -> Any:
    area, version = message.full_name.split(".")[2:4]
    names = (f"{area.capitalize()}{version.capitalize()}{message.name}", version.capitalize() + message.name)
    return next((getattr(models, name) for name in names if hasattr(models, name)), None)


def witnessed() -> list[Descriptor]:
    found = []
    for info in pkgutil.walk_packages(knarr.api.__path__, "knarr.api."):
        if info.name.endswith("_pb2") and info.name.split(".")[2] in GROUPS:
            messages = importlib.import_module(info.name).DESCRIPTOR.message_types_by_name.values()
            found += [message for message in messages if not form_of(message) and model_of(message)]
    return found


def python_type(field: Field) -> str:
    if field.message is None:
        one = PYTHON[SCALARS[field.element.type]]
    else:
        model = model_of(field.message)
        one = FORMS.get(form_of(field.message)) or (model.__name__ if model else "object")
    return f"Dict[str, {one}]" if field.is_map else f"List[{one}]" if field.is_list else one


def test_enough_is_witnessed() -> None:
    assert len(witnessed()) > 400


@pytest.mark.parametrize("message", witnessed(), ids=lambda message: message.full_name.removeprefix("knarr.api."))
def test_names_and_types_agree(message: Descriptor) -> None:
    """The client may know newer fields; whatever this schema has, it must have too, with the same type."""
    model = model_of(message)
    attributes = {json_name: attribute for attribute, json_name in model.attribute_map.items()}
    fields = json_fields(message)
    assert set(fields) - TYPE_META <= set(attributes)
    expected = {name: model.openapi_types[attributes[name]] for name in fields if name in attributes}
    assert {name: python_type(field) for name, (_, field) in fields.items() if name in attributes} == expected
    if api_version_and_kind(message):
        assert set(attributes) >= TYPE_META
