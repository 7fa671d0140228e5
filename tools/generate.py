"""Derives the contracts from the schema tables, and the Python modules from the contracts.

    python -m tools.generate            rewrite proto/knarr/api/<area>/ and knarr/api/
    python -m tools.generate --check    exit 1 and name the files that are stale

The tables in ``tools/schema`` hold facts of the Kubernetes API (field numbers, types, JSON
names, flags). Resource messages are written from them with snake_case field names; the JSON
name is kept as ``json_name``. Service contracts (apiserver, scheduler, …) are written by hand
and only compiled here.
"""

from __future__ import annotations

import argparse
import csv
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "tools" / "schema"
PROTO = ROOT / "proto"

GO_PACKAGE_PREFIXES = {
    "metav1": "meta/v1",
    "v1": "core/v1",
    "corev1": "core/v1",
    "apiv1": "core/v1",
    "resource": "meta/v1",
    "intstr": "meta/v1",
    "runtime": "runtime/v1",
    "authenticationv1": "authentication/v1",
    "batchv1": "batch/v1",
}
# A package that means something else by one of these prefixes.
OWN_PREFIXES = {"apidiscovery/v2": {"v1": "meta/v1"}}
# Go packages of alpha messages, which the tables leave out. A field of such a type keeps its number and its name reserved.
ALPHA_PREFIXES = ("schedulingv1alpha3",)
SCALARS = {
    "string": "string",
    "bool": "bool",
    "int32": "int32",
    "int64": "int64",
    "float64": "double",
    "[]byte": "bytes",
    "types.UID": "string",
    "types.NodeName": "string",
}
# Messages that the tables leave out because Go writes them by hand: (fields, JSON form).
SPECIAL: dict[str, dict[str, tuple[list[str], str | None]]] = {
    "meta/v1": {
        "Quantity": (["string string = 1;"], "QUANTITY"),
        "IntOrString": (["int64 type = 1;", "int32 int_val = 2;", "string str_val = 3;"], "INT_OR_STRING"),
        "Time": (["int64 seconds = 1;", "int32 nanos = 2;"], "TIME"),
        "MicroTime": (["int64 seconds = 1;", "int32 nanos = 2;"], "MICRO_TIME"),
        "Duration": (["int64 duration = 1;"], "DURATION"),
        "FieldsV1": (["bytes raw = 1;"], "RAW"),
        "Verbs": (["repeated string items = 1;"], "LIST"),
        "GroupResource": (["string group = 1;", "string resource = 2;"], None),
        "GroupVersionKind": (["string group = 1;", "string version = 2;", "string kind = 3;"], None),
        "GroupVersionResource": (["string group = 1;", "string version = 2;", "string resource = 3;"], None),
    },
    "runtime/v1": {"RawExtension": (["bytes raw = 1;"], "RAW")},
    "apiextensions/v1": {
        "JSON": (["bytes raw = 1;"], "RAW"),
        "CustomResourceSubresourceStatus": ([], None),
    },
    "authentication/v1": {
        "ExtraValue": (["repeated string items = 1;"], "LIST"),
        "AttestationValue": (["repeated string items = 1;"], "LIST"),
    },
    "authorization/v1": {"ExtraValue": (["repeated string items = 1;"], "LIST")},
    "certificates/v1": {"ExtraValue": (["repeated string items = 1;"], "LIST")},
}
JSON_FORMS = {
    "JSONSchemaPropsOrArray": "SCHEMA_OR_ARRAY",
    "JSONSchemaPropsOrBool": "SCHEMA_OR_BOOL",
    "JSONSchemaPropsOrStringArray": "SCHEMA_OR_STRING_ARRAY",
}
# Field names that Python cannot spell as an attribute; the JSON name stays.
RENAMED = {"continue": "continue_token", "from": "from_peers", "not": "not_schema"}
DEFAULT_REFERENCES = {
    "ref(AzureSharedBlobDisk)": '"Shared"',
    "ref(AzureDataDiskCachingReadWrite)": '"ReadWrite"',
}
# In the table of descriptions: whatever package, whatever message.
ANY = "*"
PACKAGE_COMMENT = "// Wire-compatible with the Kubernetes group {package}. Written by tools/generate.py; edit tools/schema instead."


def read_table(name: str) -> list[dict[str, str]]:
    """Rows of one schema table as dictionaries keyed by its header."""
    path = SCHEMA / name
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def snake_case(name: str) -> str:
    """``podIPs`` → ``pod_ips``, ``clusterIP`` → ``cluster_ip``, ``fsGroup`` → ``fs_group``."""
    name = name.lstrip("$").replace("-", "_")
    name = re.sub(r"([A-Z]{2,})s(?=$|[A-Z])", lambda match: match[1].capitalize() + "s", name)
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return RENAMED.get(name.lower(), name.lower())


def default_json_name(proto_name: str) -> str:
    """The JSON name protoc derives from a snake_case field name."""
    head, *tail = proto_name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)


@dataclass
class Schema:
    """The tables, indexed for resolving type names."""

    messages: dict[str, dict[str, list[dict[str, str]]]]
    named_types: dict[tuple[str, str], str]
    # The values of the named types that have no others.
    closed_types: dict[tuple[str, str], list[str]]
    # By package, message and field; no field means the message itself.
    map_types: dict[tuple[str, str, str], str]
    # By package, message and field, too; ANY package and message is for the fields of a name that have none of their own.
    descriptions: dict[tuple[str, str, str], str]

    @classmethod
    def load(cls) -> Schema:
        messages: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(dict)
        for row in read_table("kubernetes-fields.tsv"):
            package = {"runtime": "runtime/v1", "metrics.k8s.io/v1beta1": "metrics/v1beta1"}.get(row["package"], row["package"])
            if row["message"] not in SPECIAL.get(package, {}):
                messages[package].setdefault(row["message"], []).append(row)
        for package in SPECIAL:
            messages.setdefault(package, {})
        enums = read_table("kubernetes-enums.tsv")
        named = {(row["package"], row["type"]): row["underlying"] for row in enums}
        closed = {(row["package"], row["type"]): row["values"].split(",") for row in enums if row["closed"] and row["values"]}
        map_types = {(row["package"], row["message"], row["field"]): row["map_type"] for row in read_table("kubernetes-map-types.tsv")}
        descriptions = {(row["package"], row["message"], row["field"]): row["description"] for row in read_table("descriptions.tsv")}
        return cls(dict(messages), named, closed, map_types, descriptions)

    def is_message(self, package: str, name: str) -> bool:
        return name in self.messages.get(package, {}) or name in SPECIAL.get(package, {})


@dataclass
class FieldType:
    """A resolved field type: its proto spelling and the packages it needs."""

    spelling: str
    repeated: bool = False
    is_map: bool = False
    message: bool = False
    type_name: str = ""
    enum_values: list[str] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)


def resolve(schema: Schema, package: str, go_type: str) -> FieldType:
    """Turns a Go type into a proto type, following named string, list and map types."""
    go_type = go_type.lstrip("*")
    if go_type in SCALARS:
        return FieldType(SCALARS[go_type])
    if go_type.startswith("[]"):
        inner = resolve(schema, package, go_type[2:])
        inner.repeated = True
        return inner
    if go_type.startswith("map["):
        value = resolve(schema, package, go_type[go_type.index("]") + 1 :])
        return FieldType(f"map<string, {value.spelling}>", is_map=True, imports=value.imports)
    return resolve_name(schema, package, go_type)


def resolve_name(schema: Schema, package: str, go_type: str) -> FieldType:
    """Resolves a type that is a name: a message, or a named scalar, list or map; raises KeyError for a name that the tables do not know."""
    prefix, _, name = go_type.rpartition(".")
    prefixes = GO_PACKAGE_PREFIXES | OWN_PREFIXES.get(package, {})
    home = prefixes[prefix] if prefix else package
    if schema.is_message(home, name):
        if home == package:
            return FieldType(name, message=True)
        return FieldType(f"knarr.api.{home.replace('/', '.')}.{name}", message=True, imports={home})
    resolved = resolve(schema, home, schema.named_types[home, name])
    resolved.type_name = name
    resolved.enum_values = schema.closed_types.get((home, name), resolved.enum_values)
    if home != package:
        resolved.spelling = re.sub(r"(?<=, )([A-Z]\w*)(?=>)", rf"knarr.api.{home.replace('/', '.')}.\1", resolved.spelling)
    return resolved


def field_options(schema: Schema, package: str, row: dict[str, str], kind: FieldType) -> str:
    """The bracketed options of one field, or an empty string."""
    parts = []
    for flag in ("pointer", "omitempty", "inline", "optional"):
        if row[flag] == "y":
            parts.append(f"{flag}: true")
    for text in ("patch_strategy", "patch_merge_key", "list_type"):
        if row[text]:
            parts.append(f'{text}: "{row[text]}"')
    keys = [key for key in row["list_map_keys"].split(",") if key]
    if keys:
        parts.append("list_map_keys: [" + ", ".join(f'"{key}"' for key in keys) + "]")
    if row["default"]:
        default = DEFAULT_REFERENCES.get(row["default"], row["default"])
        parts.append('default_json: "' + default.replace('"', '\\"') + '"')
    if kind.type_name:
        parts.append(f'type_name: "{kind.type_name}"')
    map_type = schema.map_types.get((package, row["message"], row["json_name"]))
    if map_type:
        parts.append(f'map_type: "{map_type}"')
    if kind.enum_values:
        parts.append("enum_values: [" + ", ".join(f'"{value}"' for value in kind.enum_values) + "]")
    own = schema.descriptions.get((package, row["message"], row["json_name"]))
    description = own or schema.descriptions.get((ANY, ANY, row["json_name"]))
    if description:
        parts.append('description: "' + description.replace('"', '\\"') + '"')
    return "(knarr.api.options.v1.field) = {" + ", ".join(parts) + "}" if parts else ""


def write_field(schema: Schema, package: str, row: dict[str, str]) -> tuple[str, set[str]]:
    """One field declaration and the packages it refers to."""
    json_name = row["json_name"] if row["json_name"] != "-" else ""
    fallback = row["proto_name"] or row["go_type"]
    name = snake_case(json_name or (fallback[:1].lower() + fallback[1:]))
    kind = resolve(schema, package, row["go_type"])
    label = ""
    if kind.repeated:
        label = "repeated "
    elif row["pointer"] == "y" and not kind.is_map and not kind.message:
        label = "optional "
    options = []
    if json_name and json_name != default_json_name(name):
        options.append(f'json_name = "{json_name}"')
    if kind.repeated and kind.spelling in ("int32", "int64", "bool"):
        options.append("packed = false")
    schema_option = field_options(schema, package, row, kind)
    if schema_option:
        options.append(schema_option)
    suffix = f" [{', '.join(options)}]" if options else ""
    return f"  {label}{kind.spelling} {name} = {row['number']}{suffix};", kind.imports


def is_alpha(row: dict[str, str]) -> bool:
    """Whether a field's type is an alpha message, of which the tables know nothing."""
    return row["go_type"].lstrip("*[]").startswith(tuple(f"{prefix}." for prefix in ALPHA_PREFIXES))


def reserved_lines(rows: list[dict[str, str]]) -> list[str]:
    """What keeps the numbers and names of fields that are left out."""
    if not rows:
        return []
    numbers = ", ".join(row["number"] for row in rows)
    names = ", ".join(f'"{snake_case(row["json_name"])}"' for row in rows)
    return [f"  reserved {numbers};", f"  reserved {names};"]


def message_option(schema: Schema, package: str, name: str, json_form: str | None) -> list[str]:
    """The option lines that open a message, if it needs any."""
    parts = []
    if json_form:
        parts.append(f"json_form: JSON_FORM_{json_form}")
    map_type = schema.map_types.get((package, name, ""))
    if map_type:
        parts.append(f'map_type: "{map_type}"')
    description = schema.descriptions.get((package, name, ""))
    if description:
        parts.append('description: "' + description.replace('"', '\\"') + '"')
    return ["  option (knarr.api.options.v1.message) = {" + ", ".join(parts) + "};"] if parts else []


def write_package(schema: Schema, package: str) -> str:
    """The .proto text of one API group version."""
    imports: set[str] = set()
    body: list[str] = []
    for name, (fields, json_form) in SPECIAL.get(package, {}).items():
        body += [f"message {name} {{", *message_option(schema, package, name, json_form), *(f"  {line}" for line in fields), "}", ""]
    for name, rows in schema.messages[package].items():
        body += [f"message {name} {{", *message_option(schema, package, name, JSON_FORMS.get(name))]
        body += reserved_lines([row for row in rows if is_alpha(row)])
        for row in rows:
            if not is_alpha(row):
                line, needs = write_field(schema, package, row)
                body.append(line)
                imports |= needs
        body += ["}", ""]
    import_lines = sorted({proto_path(other) for other in imports} | {"knarr/api/options/v1/options.proto"})
    header = [
        'syntax = "proto3";',
        "",
        PACKAGE_COMMENT.format(package=package),
        f"package knarr.api.{package.replace('/', '.')};",
        "",
        *(f'import "{path}";' for path in import_lines),
        "",
    ]
    return "\n".join(header + body)


def proto_path(package: str) -> str:
    """``core/v1`` → ``knarr/api/core/v1/core.proto``."""
    return f"knarr/api/{package}/{package.split('/')[0]}.proto"


def write_contracts(target: Path) -> None:
    """Writes every resource .proto file below ``target``."""
    schema = Schema.load()
    for package in sorted(schema.messages):
        path = target / proto_path(package)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(write_package(schema, package))


def compile_contracts(proto: Path, target: Path) -> None:
    """Runs protoc over every contract; Python modules and stubs land below ``target``."""
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    files = sorted(str(path.relative_to(proto)) for path in proto.rglob("*.proto"))
    arguments = ["protoc", f"-I{proto}", f"-I{well_known}", f"--python_out={target}", f"--pyi_out={target}"]
    if protoc.main([*arguments, *files]) != 0:
        raise SystemExit("protoc refused the contracts; see its message above")
    services = [name for name in files if "\nservice " in (proto / name).read_text()]
    if services and protoc.main(["protoc", f"-I{proto}", f"-I{well_known}", f"--grpc_python_out={target}", *services]) != 0:
        raise SystemExit("protoc could not write the service stubs; see its message above")
    for folder in {path.parent for path in (target / "knarr" / "api").rglob("*_pb2.py")}:
        while folder != target / "knarr":
            (folder / "__init__.py").touch()
            folder = folder.parent


def generate(target: Path) -> None:
    """Writes proto/ and knarr/api/ as they should be, below ``target``."""
    proto = target / "proto"
    if target != ROOT:
        for path in PROTO.rglob("*.proto"):
            copy = proto / path.relative_to(PROTO)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    write_contracts(proto)
    format_contracts(proto)
    compile_contracts(proto, target)


def format_contracts(proto: Path) -> None:
    """Gives the contracts buf's one layout, so that a diff shows only meaning."""
    buf = Path(sys.executable).parent / "buf"
    subprocess.run([str(buf), "format", "-w", str(proto)], check=True)


def stale_files(fresh: Path) -> list[str]:
    """Files that differ between the tree and a fresh generation, by project-relative name."""
    wanted = {path.relative_to(fresh) for part in ("proto", "knarr/api") for path in (fresh / part).rglob("*") if path.is_file()}
    present = {
        path.relative_to(ROOT)
        for part in ("proto", "knarr/api")
        for path in (ROOT / part).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "buf.yaml"
    }
    differing = {name for name in wanted & present if (fresh / name).read_bytes() != (ROOT / name).read_bytes()}
    return sorted(str(name) for name in (wanted ^ present) | differing)


def main() -> None:
    parser = argparse.ArgumentParser(description="derive the contracts and the generated modules")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when something is stale")
    if not parser.parse_args().check:
        generate(ROOT)
        return
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        stale = stale_files(Path(folder))
    if stale:
        raise SystemExit("stale, run `make proto`:\n  " + "\n  ".join(stale))


if __name__ == "__main__":
    main()
