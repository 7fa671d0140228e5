"""The operations of each version of a resource: the other half of the model, of which ``v3`` and ``v2`` are renderings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.openapi import names
from knarr.machinery.openapi import parameters as given
from knarr.machinery.openapi.parameters import Parameter
from knarr.machinery.openapi.schemas import Json, Schemas, kind_of
from knarr.machinery.resources import Registry, Route, Subresource, Version
from knarr.machinery.schema import descriptor_of

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
OBJECTS = (JSON, YAML, PROTOBUF)
WATCHES = (*OBJECTS, f"{JSON};stream=watch", f"{PROTOBUF};stream=watch")
ANYTHING = ("*/*",)
STRATEGIC = "application/strategic-merge-patch+json"
PATCHES = ("application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json", STRATEGIC)
OK, CREATED, ACCEPTED = "200", "201", "202"
WORDS = {OK: "OK", CREATED: "Created", ACCEPTED: "Accepted", "401": "Unauthorized"}
TEXT: Json = {"type": "string"}
# A verb of an object → the method, Kubernetes' action and the word that begins the operation's identifier.
OBJECT_VERBS = {
    "get": ("get", "get", "read"),
    "update": ("put", "put", "replace"),
    "patch": ("patch", "patch", "patch"),
    "delete": ("delete", "delete", "delete"),
    "create": ("post", "post", "create"),
}
CONNECTS = {"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}
PROXY_METHODS = ("get", "put", "post", "delete", "options", "head", "patch")


@dataclass(frozen=True, slots=True)
class Operation:
    """What one method of a path does. ``body`` and ``answer`` are schemas, None where there is none; ``kind`` is what it is about."""

    method: str
    identifier: str
    tag: str
    description: str
    action: str = ""
    kind: Json | None = None
    parameters: tuple[Parameter, ...] = ()
    body: Json | None = None
    body_required: bool = False
    consumes: tuple[str, ...] = ANYTHING
    produces: tuple[str, ...] = OBJECTS
    answer: Json | None = None
    codes: tuple[str, ...] = (OK,)


@dataclass(frozen=True, slots=True)
class Path:
    """One path with what all its operations take."""

    path: str
    operations: list[Operation]
    parameters: tuple[Parameter, ...] = field(default=())


def of_versions(versions: Iterable[Version], schemas: Schemas) -> Iterator[Path]:
    """The paths of versions, each whole before the next is made; what they refer to is added to ``schemas``."""
    for version in versions:
        yield from _Maker(version, schemas).paths()


def pairs_of(registry: Registry) -> list[tuple[str, str]]:
    """Every group and version that is served."""
    return sorted({(served.group, served.version) for served in registry.versions})


def of_discovery(registry: Registry, schemas: Schemas, name: str = "") -> Iterator[Path]:
    """What answers what is served; of one ``name``, if given (``apis/apps``), else all of it."""
    pairs = pairs_of(registry)
    groups = sorted({group for group, _ in pairs if group})
    found: list[tuple[str, str, str, str, type[Message] | None]] = [
        ("/api/", "getCoreAPIVersions", "core", "The versions of the core group.", meta.APIVersions),
        ("/apis/", "getAPIVersions", "apis", "The groups that are served.", meta.APIGroupList),
        ("/version/", "getCodeVersion", "version", "Who serves.", None),
    ]
    for group in groups:
        found.append((f"/apis/{group}/", f"get{names.area(group)}APIGroup", names.tag(group), "The versions of a group.", meta.APIGroup))
    for pair in pairs:
        identifier = f"get{names.area(pair[0])}{names.capitalized(pair[1])}APIResources"
        found.append((f"{names.root_of(*pair)}/", identifier, names.tag(*pair), "What is served in a version.", meta.APIResourceList))
    for path, identifier, tag, description, answer in found:
        if name and path.strip("/") != name:
            continue
        if answer is None:
            info = schemas.version_info()
            yield Path(path, [Operation("get", identifier, tag, description, answer=info, consumes=(JSON,), produces=(JSON,))])
        else:
            reference = schemas.message(descriptor_of(answer))
            yield Path(path, [Operation("get", identifier, tag, description, answer=reference, consumes=OBJECTS)])


class _Maker:
    """Makes the paths of one version of a resource."""

    def __init__(self, served: Version, schemas: Schemas) -> None:
        self.served = served
        self.schemas = schemas
        resource = served.resource
        self.verbs = set(resource.verbs)
        root = names.root_of(served.group, served.version)
        place = "namespaces/{namespace}/" if resource.namespaced else ""
        self.everywhere = f"{root}/{resource.plural}"
        self.watched_everywhere = f"{root}/watch/{resource.plural}"
        self.collection = f"{root}/{place}{resource.plural}"
        self.watched = f"{root}/watch/{place}{resource.plural}"
        self.place = (given.NAMESPACE,) if resource.namespaced else ()
        self.named = (given.NAME, *self.place)
        self.area = names.area(served.group) + names.capitalized(served.version)
        self.tag = names.tag(served.group, served.version)
        self.scope = "Namespaced" if resource.namespaced else ""
        self.kind = kind_of(served.group, served.version, served.kind)
        self.media = OBJECTS if served.openapi is None else (JSON, YAML)
        self.media_watched = WATCHES if served.openapi is None else (JSON, YAML, f"{JSON};stream=watch")

    def paths(self) -> Iterator[Path]:
        resource = self.served.resource
        if found := list(self._of_collection()):
            yield Path(self.collection, found, (*self.place, given.PRETTY))
        if found := list(self._of_object(self.verbs - {"create"})):
            yield Path(f"{self.collection}/{{name}}", found, (*self.named, given.PRETTY))
        if resource.namespaced and "list" in self.verbs:
            yield Path(self.everywhere, [self._list("ForAllNamespaces")], (given.PRETTY,))
        for subresource in self.served.subresources:
            yield from self._of_subresource(subresource)
        if "watch" in self.verbs:
            yield from self._watches()

    def _operation(self, method: str, identifier: str, description: str, action: str, **rest: object) -> Operation:
        return Operation(method, identifier, self.tag, description, action, **{"kind": self.kind, "produces": self.media, **rest})  # type: ignore[arg-type]

    def _list(self, suffix: str = "") -> Operation:
        scope = "" if suffix else self.scope
        return self._operation(
            "get", f"list{self.area}{scope}{self.served.kind}{suffix}", f"Lists or watches objects of kind {self.served.kind}.", "list",
            parameters=given.SELECTS, answer=self.schemas.version(self.served, listed=True), produces=self.media_watched,
        )  # fmt: skip

    def _of_collection(self) -> Iterator[Operation]:
        kind = self.served.kind
        if "list" in self.verbs:
            yield self._list()
        if "create" in self.verbs:
            one = self.schemas.version(self.served)
            yield self._operation(
                "post", f"create{self.area}{self.scope}{kind}", f"Creates a {kind}.", "post",
                parameters=given.WRITES, body=one, body_required=True, answer=one, codes=(OK, CREATED, ACCEPTED),
            )  # fmt: skip
        if "deletecollection" in self.verbs:
            yield self._operation(
                "delete", f"delete{self.area}Collection{self.scope}{kind}", f"Deletes chosen objects of kind {kind}.", "deletecollection",
                parameters=_joined(given.DELETES, (one for one in given.SELECTS if one.name not in ("watch", "allowWatchBookmarks"))),
                body=self.schemas.message(descriptor_of(meta.DeleteOptions)), answer=self.schemas.message(descriptor_of(meta.Status)),
            )  # fmt: skip

    def _of_object(self, verbs: set[str], subresource: Subresource | None = None) -> Iterator[Operation]:
        kind = self.served.kind
        suffix = names.capitalized(subresource.name) if subresource else ""
        what = f"{subresource.name} of a {kind}" if subresource else f"a {kind}"
        own = subresource is None or subresource.body is None
        one = self.schemas.version(self.served) if own else self.schemas.message(descriptor_of(self.served.body_of(subresource)))
        for verb, (method, action, word) in OBJECT_VERBS.items():
            if verb not in verbs:
                continue
            parts: dict[str, object] = {"answer": one, "kind": self._kind_of(subresource)}
            if verb == "delete":
                parts |= {"parameters": given.DELETES, "answer": self.schemas.message(descriptor_of(meta.Status)), "codes": (OK, ACCEPTED)}
                parts["body"] = self.schemas.message(descriptor_of(meta.DeleteOptions))
            elif verb == "patch":
                patches = PATCHES if self.served.openapi is None or not own else tuple(one for one in PATCHES if one != STRATEGIC)
                parts |= {"parameters": (*given.WRITES, given.FORCE), "body": self.schemas.patch(), "consumes": patches}
                parts |= {"body_required": True, "codes": (OK, CREATED)}
            elif verb != "get":
                codes = (OK, CREATED, ACCEPTED) if verb == "create" else (OK, CREATED)
                parts |= {"parameters": given.WRITES, "body": one, "body_required": True, "codes": codes}
            identifier = f"{word}{self.area}{self.scope}{kind}{suffix}"
            yield self._operation(method, identifier, f"{word.capitalize()}s {what}.", action, **parts)

    def _kind_of(self, subresource: Subresource | None) -> Json:
        api_version, kind = (subresource.body_names if subresource else None) or self.served.names
        group, _, version = api_version.rpartition("/")
        return kind_of(group, version, kind)

    def _of_subresource(self, subresource: Subresource) -> Iterator[Path]:
        path = f"{self.collection}/{{name}}/{subresource.name}"
        verbs = set(subresource.verbs)
        if subresource.route in (Route.OBJECT, Route.CREATE):
            yield Path(path, list(self._of_object(verbs, subresource)), (*self.named, given.PRETTY))
            return
        options = subresource.options or subresource.body
        parameters = (*self.named, *(given.spelled(descriptor_of(options)) if options is not None else ()))
        if subresource.body is None:
            yield Path(path, [self._read_text(subresource)], parameters)
            return
        methods = PROXY_METHODS if subresource.route is Route.PROXY else tuple(CONNECTS[verb] for verb in sorted(verbs))
        yield Path(path, [self._connect(method, subresource) for method in methods], parameters)
        if subresource.route is Route.PROXY:
            deeper = [self._connect(method, subresource, "WithPath") for method in methods]
            yield Path(f"{path}/{{path}}", deeper, (*parameters, given.PROXY_PATH))

    def _read_text(self, subresource: Subresource) -> Operation:
        suffix = names.capitalized(subresource.name)
        return self._operation(
            "get", f"read{self.area}{self.scope}{self.served.kind}{suffix}", f"Reads {subresource.name} of a {self.served.kind}.", "get",
            answer=TEXT, produces=("text/plain", *OBJECTS),
        )  # fmt: skip

    def _connect(self, method: str, subresource: Subresource, suffix: str = "") -> Operation:
        name = f"{self.scope}{self.served.kind}{names.capitalized(subresource.name)}{suffix}"
        description = f"Connects to {subresource.name} of a {self.served.kind} by {method.upper()}."
        return self._operation(
            method, f"connect{self.area}{method.capitalize()}{name}", description, "connect",
            kind=self._kind_of(subresource), answer=TEXT, produces=ANYTHING,
        )  # fmt: skip

    def _watches(self) -> Iterator[Path]:
        """Watches as they were once asked for."""
        kind, selects = self.served.kind, (*given.SELECTS, given.PRETTY)
        one = self._watch("watch", f"{self.scope}{kind}", f"Watches a {kind}; better list with watch and a fieldSelector.")
        yield Path(f"{self.watched}/{{name}}", [one], (*self.named, *selects))
        if "list" not in self.verbs:
            return
        words = f"Watches objects of kind {kind}; better list with watch."
        yield Path(self.watched, [self._watch("watchlist", f"{self.scope}{kind}List", words)], (*self.place, *selects))
        if self.served.resource.namespaced:
            yield Path(self.watched_everywhere, [self._watch("watchlist", f"{kind}ListForAllNamespaces", words)], selects)

    def _watch(self, action: str, name: str, description: str) -> Operation:
        answer = self.schemas.watch_event()
        return self._operation("get", f"watch{self.area}{name}", description, action, answer=answer, produces=self.media_watched)


def _joined(first: Iterable[Parameter], second: Iterable[Parameter]) -> tuple[Parameter, ...]:
    return tuple(sorted((*first, *second), key=lambda parameter: parameter.name))
