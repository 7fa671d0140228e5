"""What the operator promises, seen at an API server that defaults, validates and remembers as a cluster's does."""

import json

import pytest


def greeting(name, whom):
    return json.dumps({"apiVersion": "example.com/v1", "kind": "Greeting", "metadata": {"name": name}, "spec": {"whom": whom}})


@pytest.fixture
def words(kubectl):
    """What a Greeting has come to, once it has."""

    def of(name):
        kubectl("wait", "--for=create", f"configmap/{name}", "--timeout=60s")
        return json.loads(kubectl("get", "configmap", name, "-o", "json"))["data"]["words"]

    return of


def test_a_greeting_becomes_words(operator, kubectl, words):
    kubectl("apply", "-f", "-", stdin=greeting("first", "world"))
    assert words("first") == "Hello, world!"


def test_the_words_go_with_their_greeting(operator, kubectl, words):
    kubectl("apply", "-f", "-", stdin=greeting("short", "you"))
    assert words("short")
    kubectl("delete", "greeting", "short")
    kubectl("wait", "--for=delete", "configmap/short", "--timeout=60s")


def test_a_watch_that_breaks_loses_nothing(operator, kubectl, words, inject):
    kubectl("apply", "-f", "-", stdin=greeting("before", "you"))
    assert words("before")
    assert inject.drop_watches() > 0
    kubectl("apply", "-f", "-", stdin=greeting("after", "you"))
    assert words("after") == "Hello, you!"
