"""A person's kubeconfig: one context comes and goes, and all else stays to the byte."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from services.command.named.kubeconfig_text import SECTIONS, Damaged, current, has, read, with_context, with_current, without_context

ENTRIES: dict[str, dict[str, Any]] = {
    "clusters": {"name": "knarr-dev", "cluster": {"server": "https://127.0.0.1:26000"}},
    "contexts": {"name": "knarr-dev", "context": {"cluster": "knarr-dev", "user": "knarr-dev"}},
    "users": {"name": "knarr-dev", "user": {"client-key-data": "c2VjcmV0"}},
}
MINE = """\
# mine, do not touch
apiVersion: v1
kind: Config
clusters:
# the big one
- cluster:
    server: "https://big:6443"   # quoted
  name: big
# behind it
contexts:
  - context: {cluster: big, user: me}
    name: big

  - name: other
    context:
      cluster: big
      user: |
        me
current-context: other  # for now
users:
- name: me
  user:
    token: 'abc'
preferences: {}
"""
FORMS = {
    "comments": MINE,
    "no end of line": MINE.rstrip("\n"),
    "empty lists": 'apiVersion: v1\nkind: Config\nclusters: [] # none\ncontexts: null\nusers:\ncurrent-context: ""\n',
    "lists in a line": "kind: Config\nclusters: [{name: a, cluster: {server: x}}]\ncontexts: []\nusers: []\n",
    "nothing": "",
    "a comment": "# nothing yet\n",
    "json": '{"kind": "Config", "clusters": [{"name": "a", "cluster": {}}], "contexts": null}',
    "begun by dashes": "---\nkind: Config\nclusters:\n- name: a\n  cluster: {}\n",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS.keys())
def test_a_context_comes_and_goes(text: str) -> None:
    before = read(text)
    added = with_context(text, ENTRIES)
    document = read(added)
    assert current(document) == "knarr-dev" and has(document, "knarr-dev")
    for section, entry in ENTRIES.items():
        assert document[section] == [*(before.get(section) or []), entry]
    assert with_context(added, ENTRIES) == added
    left = read(without_context(added, "knarr-dev"))
    assert not has(left, "knarr-dev") and current(left) == ""
    assert {section: left.get(section) or [] for section in SECTIONS} == {section: before.get(section) or [] for section in SECTIONS}


def test_everything_else_stays_to_the_byte() -> None:
    added = with_context(MINE, ENTRIES)
    assert [line for line in MINE.splitlines() if line not in added.splitlines()] == ["current-context: other  # for now"]
    assert "current-context: knarr-dev  # for now\n" in added
    assert with_current(without_context(added, "knarr-dev"), "other") == MINE
    assert without_context(MINE, "knarr-dev") == MINE and with_current(MINE, "other") == MINE


def test_comments_stay_where_a_list_was_empty() -> None:
    added = with_context(FORMS["empty lists"], ENTRIES)
    assert "clusters: # none\n- name: knarr-dev\n" in added
    assert "clusters: [] # none\n" in without_context(added, "knarr-dev")


def test_an_entry_is_replaced_where_it_stands() -> None:
    added = with_context(MINE, ENTRIES) + "# the end\n"
    behind = with_context(without_context(added, "knarr-dev"), {**ENTRIES, "clusters": {**ENTRIES["clusters"], "cluster": {}}})
    moved: dict[str, Any] = {**ENTRIES, "clusters": {"name": "knarr-dev", "cluster": {"server": "https://elsewhere"}}}
    again = with_context(behind, moved)
    assert read(again)["clusters"][1] == moved["clusters"] and len(read(again)["clusters"]) == 2
    assert "# behind it" in again and again.endswith("# the end\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("clusters: [", "line 2: "),
        ("\tkind: Config", "line 1: "),
        ("- a\n", "no object of kind Config"),
        ("kind: Pod\n", "no object of kind Config"),
        ("clusters: {a: 1}\n", "clusters is no list of objects"),
        ("users: [1]\n", "users is no list of objects"),
        ("kind: Config\n---\nkind: Config\n", "expected a single document"),
    ],
)
def test_what_is_no_kubeconfig_is_told(text: str, words: str) -> None:
    with pytest.raises(Damaged, match=words):
        with_context(text, ENTRIES)


@pytest.mark.parametrize(
    "text",
    [
        # What is written once and meant twice.
        "x: &x\n- name: a\n  cluster: {}\nclusters: *x\nother: *x\n",
        "clusters:\n-\n  name: a\n  cluster: {}\n",
        "clusters:\n- name: a\n  cluster: {}\nclusters:\n- name: b\n  cluster: {}\n",
    ],
)
def test_what_cannot_be_changed_without_harm_is_left(text: str) -> None:
    try:
        added = with_context(text, ENTRIES)
    except Damaged:
        return
    assert read(added)["clusters"] == [*(read(text)["clusters"]), ENTRIES["clusters"]]
    assert {name: value for name, value in read(added).items() if name not in (*SECTIONS, "current-context")} == {
        name: value for name, value in read(text).items() if name not in (*SECTIONS, "current-context")
    }


WORDS = st.text(alphabet="abz09-_:#'\" é", min_size=1, max_size=8)
NAMED = st.lists(st.fixed_dictionaries({"name": WORDS, "cluster": st.dictionaries(WORDS, WORDS | st.none(), max_size=2)}), max_size=3)


# A busy machine is no failure.
@settings(deadline=None, max_examples=60)
@given(clusters=NAMED | st.none(), chosen=WORDS, flow=st.sampled_from([None, True, False]), indent=st.integers(2, 4))
def test_whatever_was_written_is_kept(clusters: Any, chosen: str, flow: bool | None, indent: int) -> None:
    document = {"clusters": clusters, "current-context": chosen, "extra": {"a": [1]}}
    text = yaml.safe_dump(document, default_flow_style=flow, indent=indent, allow_unicode=True)
    left = read(without_context(with_context(text, ENTRIES), "knarr-dev"))
    assert (left["clusters"] or []) == (clusters or []) and left["extra"] == {"a": [1]}
