"""docs/pods.md against the contract: each field of a pod has its row, and each row its field."""

from __future__ import annotations

from knarr.machinery.schema import fields_of
from services.apiserver.fields.table import HONOURED
from tools.pods import PACKAGE, PAGE, page, parts, remarks, states


def test_every_field_of_a_pod_has_a_state_and_a_remark() -> None:
    known, told = states(), remarks()
    places = {(message.full_name, field.json_name) for message in parts() for field in fields_of(message)}
    stateless = sorted(place for place in places if not known[place])
    assert not stateless, f"give these fields a state in services/apiserver/fields/support.tsv: {stateless}"
    lost = {place for place in places if any(row.state != HONOURED and row.when.any for row in known[place])}
    silent = sorted(f"{message.removeprefix(PACKAGE)}: {field}" for message, field in places - lost - told.keys())
    assert not silent, f"give these fields a remark in tools/pods.tsv: {silent}"
    gone = sorted(f"{message.removeprefix(PACKAGE)}: {field}" for message, field in told.keys() - places)
    assert not gone, f"take these remarks out of tools/pods.tsv, their fields do not exist or stand below one that is refused: {gone}"


def test_the_page_is_written_from_the_list() -> None:
    assert PAGE.read_text() == page(), "run `make fix`, or python -m tools.pods"
