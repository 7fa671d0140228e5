"""Rules in CEL: with a definition they are compiled and weighed, with each write of an object carried out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apiserver.definitions.asgi import CRDS, WIDGETS, Rest, definition, running, widget

MERGE = "application/merge-patch+json"
PLACE = "spec.versions[0].schema.openAPIV3Schema.properties[spec]"
RULE = f"{PLACE}.x-kubernetes-validations[0]"


def schema(*rules: dict[str, Any], **properties: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"type": "object", "properties": properties}
    if rules:
        spec["x-kubernetes-validations"] = list(rules)
    return {"type": "object", "properties": {"spec": spec}}


NUMBERS = {"low": {"type": "integer"}, "high": {"type": "integer"}, "mode": {"type": "string", "maxLength": 10}}


async def test_a_rule_is_carried_out_on_create_and_update() -> None:
    rules = (
        {"rule": "self.low <= self.high", "message": "low must not be above high", "fieldPath": ".low"},
        {"rule": "!has(self.mode) || self.mode in ['a', 'b']", "messageExpression": "'not ' + self.mode", "reason": "FieldValueForbidden"},
        {"rule": "!has(self.mode) || !has(oldSelf.mode) || self.mode == oldSelf.mode"},
    )
    async with running() as rest:
        await rest.define(definition(schema=schema(*rules, **NUMBERS)))
        refused = await rest("POST", WIDGETS, widget(spec={"low": 2, "high": 1, "mode": "c"}))
        assert refused.status == 422
        assert refused.causes == ["spec.low: Invalid value: low must not be above high", "spec: Forbidden: not c"]
        assert (await rest("POST", WIDGETS, widget(spec={"low": 1, "high": 1, "mode": "a"}))).status == 201
        changed = await rest("PATCH", f"{WIDGETS}/a", {"spec": {"mode": "b"}}, MERGE)
        assert changed.causes == ["spec: Invalid value: failed rule: !has(self.mode) || !has(oldSelf.mode) || self.mode == oldSelf.mode"]
        missing = await rest("POST", WIDGETS, widget("b", spec={"low": 1}))
        assert missing.causes == ['spec: Invalid value: "object": no such key: high evaluating rule: low must not be above high']
        typed = await rest("POST", WIDGETS, widget("b", spec={"low": "x", "high": 1}))
        assert typed.causes[-1].startswith("<nil>: Invalid value: null: some validation rules were not checked")


async def test_rules_see_dates_quantities_names_and_maps() -> None:
    rules = (
        {"rule": "self.until > timestamp('2024-01-01T00:00:00Z') && self.wait < duration('1h')", "message": "times"},
        {"rule": "quantity(self.size).isLessThan(quantity('2Gi'))", "message": "size"},
        {"rule": "self.labels.all(k, k.startsWith('x') && self.labels[k] != '')", "message": "labels"},
        {"rule": "self.__namespace__ == 'n' && self.namespace == 'n' && self.a__dash__b == 1.0", "message": "names"},
        {"rule": "self.port == 80 || self.port == '80%'", "message": "port"},
    )
    text: dict[str, Any] = {"type": "string"}
    properties = {
        "until": {**text, "format": "date-time"},
        "wait": {**text, "format": "duration"},
        "size": {**text, "maxLength": 20},
        "labels": {"type": "object", "additionalProperties": {**text, "maxLength": 9}, "maxProperties": 9},
        "namespace": text,
        "a-b": {"type": "number"},
        "port": {"x-kubernetes-int-or-string": True},
    }
    good = {"until": "2024-06-01T00:00:00Z", "wait": "5m", "size": "1Gi", "labels": {"x": "y"}, "namespace": "n", "a-b": 1, "port": "80%"}
    async with running() as rest:
        found = schema(*rules, **properties)
        found["x-kubernetes-validations"] = [{"rule": "self.metadata.name.startsWith('w')", "message": "name"}]
        await rest.define(definition(schema=found))
        assert (await rest("POST", WIDGETS, widget("w", spec=good))).status == 201
        bad = {"until": "2023-06-01T00:00:00Z", "size": "3Gi", "labels": {"x": ""}, "namespace": "m", "port": 81}
        refused = await rest("POST", WIDGETS, widget("v", spec={**good, **bad}))
        assert refused.causes == [
            "<nil>: Invalid value: name",
            *(f"spec: Invalid value: {words}" for words in ("times", "size", "labels", "names", "port")),
        ]


async def test_what_did_not_change_is_not_judged_again() -> None:
    inner = {"type": "string", "x-kubernetes-validations": [{"rule": "self != 'old'", "message": "not old"}]}
    async with running() as rest:
        await rest.define(definition(schema=schema(a={"type": "string"}, b={"type": "string"})))
        await rest("POST", WIDGETS, widget(spec={"a": "old", "b": "x"}))
        new = definition(schema=schema(a=inner, b={"type": "string"}))["spec"]["versions"]
        assert (await rest("PATCH", f"{CRDS}/widgets.example.org", {"spec": {"versions": new}}, MERGE)).status == 200
        await _until_refused(rest)
        kept = await rest("PATCH", f"{WIDGETS}/a", {"spec": {"b": "y"}}, MERGE)
        assert kept.status == 200 and kept.warnings == ['299 - "spec.a: Invalid value: \\"old\\": not old"']
        assert not (await rest("PATCH", f"{WIDGETS}/a", {"spec": {"a": "new"}}, MERGE)).warnings
        again = await rest("PATCH", f"{WIDGETS}/a", {"spec": {"a": "old"}}, MERGE)
        assert again.causes == ['spec.a: Invalid value: "old": not old']


async def test_a_status_is_written_beside_what_was_there_before_a_rule() -> None:
    async with running() as rest:
        properties: dict[str, Any] = {
            "spec": {"type": "object", "properties": {"a": {"type": "string"}}},
            "status": {"type": "object", "properties": {"n": {"type": "integer"}}},
        }
        made = definition(schema={"type": "object", "properties": properties})
        made["spec"]["versions"][0]["subresources"] = {"status": {}}
        await rest.define(made)
        await rest("POST", WIDGETS, widget(spec={"a": "old"}))
        properties["spec"]["x-kubernetes-validations"] = [{"rule": "self.a != 'old'", "message": "not old"}]
        versions = made["spec"]["versions"]
        assert (await rest("PATCH", f"{CRDS}/widgets.example.org", {"spec": {"versions": versions}}, MERGE)).status == 200
        await _until_refused(rest)
        written = await rest("PATCH", f"{WIDGETS}/a/status", {"status": {"n": 1}}, MERGE)
        assert written.status == 200 and written.warnings == ['299 - "spec: Invalid value: not old"']


async def _until_refused(rest: Rest) -> None:
    """Until the new schema counts."""
    while (await rest("POST", f"{WIDGETS}?dryRun=All", widget("other", spec={"a": "old"}))).status != 422:
        pass


async def test_rules_of_elements_look_back_by_key_and_may_be_asked_without() -> None:
    element = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
        "x-kubernetes-validations": [
            {"rule": "self.size >= oldSelf.size", "message": "must not shrink"},
            {"rule": "oldSelf.hasValue() || self.size < 5", "message": "must begin small", "optionalOldSelf": True},
        ],
    }
    listed = {"type": "array", "maxItems": 9, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": element}
    async with running() as rest:
        await rest.define(definition(schema=schema(disks=listed)))
        large = await rest("POST", WIDGETS, widget(spec={"disks": [{"name": "a", "size": 9}]}))
        assert large.causes == ["spec.disks[0]: Invalid value: must begin small"]
        assert (await rest("POST", WIDGETS, widget(spec={"disks": [{"name": "a", "size": 4}]}))).status == 201
        moved = [{"name": "b", "size": 1}, {"name": "a", "size": 9}]
        assert (await rest("PATCH", f"{WIDGETS}/a", {"spec": {"disks": moved}}, MERGE)).status == 200
        smaller = [{"name": "a", "size": 8}]
        answer = await rest("PATCH", f"{WIDGETS}/a", {"spec": {"disks": smaller}}, MERGE)
        assert answer.causes == ["spec.disks[0]: Invalid value: must not shrink"]


async def test_a_rule_that_runs_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knarr.machinery.custom.rule_runs.CALL_LIMIT", 500)
    rule = {"rule": "self.l.all(x, self.l.all(y, x + y >= 0))"}
    async with running() as rest:
        await rest.define(definition(schema=schema(rule, l={"type": "array", "maxItems": 100, "items": {"type": "integer"}})))
        assert (await rest("POST", WIDGETS, widget(spec={"l": [1, 2]}))).status == 201
        answer = await rest("POST", WIDGETS, widget("b", spec={"l": list(range(100))}))
        assert answer.status == 422 and "operation cancelled: actual cost limit exceeded" in answer.causes[0]


async def test_all_rules_of_an_object_share_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knarr.machinery.custom.rule_runs.OBJECT_LIMIT", 300)
    monkeypatch.setattr("knarr.machinery.custom.rule_runs.Budget.__init__.__defaults__", (300,))
    element = {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= 0"}]}
    async with running() as rest:
        await rest.define(definition(schema=schema(l={"type": "array", "maxItems": 1000, "items": element})))
        assert (await rest("POST", WIDGETS, widget(spec={"l": [1] * 10}))).status == 201
        answer = await rest("POST", WIDGETS, widget("b", spec={"l": [1] * 1000}))
        assert answer.status == 422 and len(answer.causes) == 1
        assert "validation failed due to running out of cost budget" in answer.causes[0] or "cost limit exceeded" in answer.causes[0]


@pytest.mark.parametrize(
    ("rule", "cause"),
    [
        (
            {"rule": "self.nope == 1"},
            f"{RULE}.rule: Invalid value: {{\"rule\":\"self.nope == 1\"}}: compilation failed: ERROR: <input>:1:5: undefined field 'nope'",
        ),
        ({"rule": "self.low +"}, f"{RULE}.rule: Invalid value"),
        ({"rule": "self.low"}, f'{RULE}.rule: Invalid value: {{"rule":"self.low"}}: cel expression must evaluate'),
        ({"rule": " "}, f"{RULE}.rule: Required value: rule is not specified"),
        ({"rule": "true", "messageExpression": "1"}, f"{RULE}.messageExpression: Invalid value"),
        ({"rule": "true", "fieldPath": ".nope"}, f'{RULE}.fieldPath: Invalid value: ".nope": must be a valid path'),
        ({"rule": "true", "reason": "Because"}, f'{RULE}.reason: Unsupported value: "Because"'),
        ({"rule": "true", "optionalOldSelf": True}, f"{RULE}.optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used"),
        ({"rule": "true &&\ntrue"}, f"{RULE}.message: Required value: message must be specified if rule"),
        ({"rule": "self.all(a, self.all(b, self.all(c, a == b && b == c)))"}, f"{RULE}.rule: Invalid value"),
    ],
)  # fmt: skip
async def test_rules_that_are_none(rule: dict[str, Any], cause: str) -> None:
    async with running() as rest:
        answer = await rest("POST", CRDS, definition(schema=schema(rule, **NUMBERS)))
        assert answer.status == 422 and len(answer.causes) == 1, answer.json
        assert answer.causes[0].startswith(cause)


async def test_a_rule_that_may_cost_too_much_is_refused_with_advice() -> None:
    texts = {"type": "array", "items": {"type": "string"}}
    rule = {"rule": "self.l.all(x, self.l.all(y, x == y))"}
    async with running() as rest:
        answer = await rest("POST", CRDS, definition(schema=schema(rule, l=texts)))
        assert answer.status == 422
        assert answer.causes[0].startswith(f"{RULE}.rule: Forbidden: estimated rule cost exceeds budget by factor of")
        assert "adding maxItems" in answer.causes[0]
        bounded = {"type": "array", "maxItems": 20, "items": {"type": "string", "maxLength": 20}}
        assert (await rest("POST", CRDS, definition(schema=schema(rule, l=bounded)))).status == 201


async def test_to_ask_which_fields_are_there_is_cheap_in_a_list_of_any_length() -> None:
    """Published definitions have long rows of such questions."""
    names = "abcde"
    element: dict[str, Any] = {"type": "object", "properties": {name: {"type": "boolean"} for name in names}}
    element["x-kubernetes-validations"] = [{"rule": " || ".join(f"has(self.{name})" for name in names)}]
    async with running() as rest:
        assert (await rest("POST", CRDS, definition(schema=schema(l={"type": "array", "items": element})))).status == 201


async def test_lists_within_lists_hold_no_more_than_a_request_does() -> None:
    """Published definitions have rules deep within lists of no length; only those that are dear for themselves are refused."""
    inner: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    inner["x-kubernetes-validations"] = [{"rule": "has(self.a) == has(self.b)"}]
    lists = {"type": "array", "items": {"type": "object", "properties": {"l": {"type": "array", "items": inner}}}}
    async with running() as rest:
        assert (await rest("POST", CRDS, definition(schema=schema(l=lists)))).status == 201
        inner["x-kubernetes-validations"] = [{"rule": "self.a.matches('^a+$')"}]
        assert (await rest("POST", CRDS, definition("others", kind="Other", schema=schema(l=lists)))).status == 422


async def test_old_and_new_elements_of_a_plain_list_are_not_the_same() -> None:
    element = {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}
    async with running() as rest:
        answer = await rest("POST", CRDS, definition(schema=schema(l={"type": "array", "maxItems": 5, "items": element})))
        assert answer.status == 422
        assert f"oldSelf cannot be used on the uncorrelatable portion of the schema within {PLACE}.properties[l]" in answer.causes[0]
