"""Formats of names, and causes in Kubernetes' words."""

from __future__ import annotations

import pytest

from knarr.machinery import validation
from knarr.machinery.errors import Cause, conflict, invalid, not_found
from knarr.machinery.validation import Format, Path

GOOD: list[tuple[Format, list[str]]] = [
    (validation.dns1123_label, ["a", "0", "web-1", "a" * 63]),
    (validation.dns1123_subdomain, ["a", "web-1.example.com", "a." * 126 + "a"]),
    (validation.dns1035_label, ["a", "web-1"]),
    (validation.qualified_name, ["app", "App_1.x", "example.com/app", "a" * 63]),
    (validation.label_value, ["", "a", "A_b.c-1", "a" * 63]),
    (validation.env_var_name, ["PATH", "_a", "my.env-name", "1a", "a b", ".", "..", "!~"]),
    (validation.underscored_subdomain, ["a", "_sip._udp.example.com", "a_b.c"]),
    (validation.config_key, ["a", ".hidden", "A_b-c.txt"]),
    (validation.port_name, ["http", "a1-b", "x" * 15]),
    (validation.ip_address, ["10.0.0.1", "2001:db8::1"]),
    (validation.cidr, ["10.0.0.0/8", "2001:db8::/32", "0.0.0.0/0"]),
]
BAD: list[tuple[Format, list[str]]] = [
    (validation.dns1123_label, ["", "A", "-a", "a-", "a.b", "a" * 64, "a\n"]),
    (validation.dns1123_subdomain, ["", "a..b", ".a", "a_b", "a" * 254]),
    (validation.dns1035_label, ["1a", "A", ""]),
    (validation.qualified_name, ["", "a/b/c", "/a", "a/", "-a", "EXAMPLE.com/a", "a" * 64]),
    (validation.label_value, ["a b", "-a", "a" * 64, "ä"]),
    (validation.env_var_name, ["", "a=b", "ä", "a\n", "\x7f"]),
    (validation.underscored_subdomain, ["", "a_", "__a", "_", "a..b", "A"]),
    (validation.config_key, ["", "a b", ".", "..", "..a"]),
    (validation.port_name, ["", "1", "HTTP", "a--b", "-a", "x" * 16]),
    (validation.ip_address, ["", "10.0.0", "10.0.0.01", "a", "fd00::1%eth0"]),
    (validation.cidr, ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "/8", "fd00::%eth0/64"]),
]


def flat(table: list[tuple[Format, list[str]]]) -> list[tuple[Format, str]]:
    return [(check, value) for check, values in table for value in values]


@pytest.mark.parametrize(("check", "value"), flat(GOOD), ids=lambda value: getattr(value, "__name__", repr(value)[:20]))
def test_good_names(check: Format, value: str) -> None:
    assert check(value) == []


@pytest.mark.parametrize(("check", "value"), flat(BAD), ids=lambda value: getattr(value, "__name__", repr(value)[:20]))
def test_bad_names(check: Format, value: str) -> None:
    assert check(value)


def test_paths() -> None:
    path = Path("spec").child("containers").index(0).child("resources", "limits").key("cpu")
    assert path == "spec.containers[0].resources.limits[cpu]"
    assert Path("").child("spec") == "spec"


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (validation.required("a"), Cause("FieldValueRequired", "Required value", "a")),
        (validation.required("a", "why"), Cause("FieldValueRequired", "Required value: why", "a")),
        (validation.invalid("a", "x", "why"), Cause("FieldValueInvalid", 'Invalid value: "x": why', "a")),
        (validation.invalid("a", -1, "why"), Cause("FieldValueInvalid", "Invalid value: -1: why", "a")),
        (
            validation.not_supported("a", "x", ["B", "A"]),
            Cause("FieldValueNotSupported", 'Unsupported value: "x": supported values: "A", "B"', "a"),
        ),
        (validation.duplicate("a", "x"), Cause("FieldValueDuplicate", 'Duplicate value: "x"', "a")),
        (validation.forbidden("a", "why"), Cause("FieldValueForbidden", "Forbidden: why", "a")),
        (validation.too_long("a", 5), Cause("FieldValueTooLong", "Too long: may not be more than 5 bytes", "a")),
        (validation.not_found("a", "x"), Cause("FieldValueNotFound", 'Not found: "x"', "a")),
    ],
    ids=lambda value: value.reason if isinstance(value, Cause) else None,
)
def test_causes(cause: Cause, expected: Cause) -> None:
    assert cause == expected


def test_errors_list_their_causes() -> None:
    error = invalid("Deployment", "d", [validation.required("spec.selector"), validation.forbidden("spec.x")], "apps")
    assert str(error) == 'Deployment.apps "d" is invalid: [spec.selector: Required value, spec.x: Forbidden]'
    assert (error.code, [cause.field for cause in error.status.details.causes]) == (422, ["spec.selector", "spec.x"])
    assert str(not_found("deployments", "d", "apps")) == 'deployments.apps "d" not found'
    assert conflict("pods", "p").code == 409
