"""The parameters of operations: those that every operation of a sort has, and the fields of a message that a query spells."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from knarr.machinery.schema import Form, form_of, json_fields

TYPES = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BOOL: "boolean",
    FieldDescriptor.TYPE_INT32: "integer",
    FieldDescriptor.TYPE_INT64: "integer",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """``place`` is ``query`` or ``path``; ``type`` that of its value."""

    name: str
    type: str
    description: str
    place: str = "query"


NAMESPACE = Parameter("namespace", "string", "the namespace that the object is in", "path")
NAME = Parameter("name", "string", "name of the object", "path")
PROXY_PATH = Parameter("path", "string", "what is asked for behind the proxy", "path")
PRETTY = Parameter("pretty", "string", "Indents the answer unless false.")
DRY_RUN = Parameter("dryRun", "string", "Runs the whole request but keeps nothing; the one value is All.")
FIELD_MANAGER = Parameter("fieldManager", "string", "Who makes the change, for the record of who owns which field.")
FIELD_VALIDATION = Parameter(
    "fieldValidation", "string", "What to do with unknown or duplicate fields: Ignore drops them, Warn (the default) warns, Strict refuses."
)
FORCE = Parameter("force", "boolean", "Takes over fields that others own; only for apply.")
WRITES = (DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION)
DELETES = (
    DRY_RUN,
    Parameter("gracePeriodSeconds", "integer", "Seconds until the object is removed; 0 means at once."),
    Parameter("orphanDependents", "boolean", "Older way to say propagationPolicy: true means Orphan."),
    Parameter("propagationPolicy", "string", "What happens to dependents: Orphan, Background or Foreground."),
)
SELECTS = (
    Parameter("allowWatchBookmarks", "boolean", "Lets a watch send bookmarks."),
    Parameter("continue", "string", "Where to continue, from the last answer."),
    Parameter("fieldSelector", "string", "Only objects whose fields match."),
    Parameter("labelSelector", "string", "Only objects whose labels match."),
    Parameter("limit", "integer", "At most this many objects; the answer says how to continue."),
    Parameter("resourceVersion", "string", "The state that the answer must at least show."),
    Parameter("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
    Parameter("sendInitialEvents", "boolean", "Lets a watch start with the present objects."),
    Parameter("timeoutSeconds", "integer", "Ends the call after this many seconds."),
    Parameter("watch", "boolean", "Streams changes instead of answering once."),
)


def spelled(options: Descriptor) -> tuple[Parameter, ...]:
    """The fields of an options message as the query has them; what is no plain value or moment is left out."""
    found = []
    for name, (_, field) in json_fields(options).items():
        if field.message is None:
            kind = TYPES[field.element.type]
        elif form_of(field.message) in (Form.JSON_FORM_TIME, Form.JSON_FORM_MICRO_TIME):
            kind = "string"
        else:
            continue
        found.append(Parameter(name, kind, field.description))
    return tuple(sorted(found, key=lambda parameter: parameter.name))
