"""The file of --cloud-config: what is wrong in it is named by its field."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.cloud.configuration import ConfigurationError, load_sections, read_section
from services.cloud.providers.catalog import PROVIDERS, provider_type
from services.cloud.providers.local.settings import LocalSettings


@dataclass(frozen=True)
class Inner:
    size_bytes: int = 1


@dataclass(frozen=True)
class Options:
    region: str
    retry_seconds: float = 1.0
    dry_run: bool = False
    key_file: Path | None = None
    subnet_ids: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.retry_seconds <= 0:
            raise ValueError("retry_seconds: must be more than 0")


def test_every_kind_of_field_is_read() -> None:
    section = {
        "region": "eu-1",
        "retrySeconds": 2,
        "dryRun": True,
        "keyFile": "/k",
        "subnetIds": ["a", "b"],
        "tags": {"team": "x"},
        "inner": {"sizeBytes": 7},
    }
    expected = Options("eu-1", 2.0, True, Path("/k"), ("a", "b"), {"team": "x"}, Inner(7))
    assert read_section(Options, section, "cloud") == expected
    assert read_section(LocalSettings, None, "local") == LocalSettings()


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ([], "cloud: must be a section with fields, not a list"),
        ({}, "cloud.region: must be given"),
        ({"region": 7}, "cloud.region: must be a text, not a number"),
        ({"region": None}, "cloud.region: must be a text, not empty"),
        ({"region": "a", "zone": "b"}, "cloud.zone: unknown field; there are dryRun, inner, keyFile"),
        ({"region": "a", "retrySeconds": True}, "cloud.retrySeconds: must be a number, not true or false"),
        ({"region": "a", "retrySeconds": 0}, "cloud.retrySeconds: must be more than 0"),
        ({"region": "a", "dryRun": "yes"}, "cloud.dryRun: must be true or false, not a text"),
        ({"region": "a", "subnetIds": "x"}, "cloud.subnetIds: must be a list, not a text"),
        ({"region": "a", "subnetIds": ["x", 1]}, r"cloud.subnetIds\[1\]: must be a text, not a number"),
        ({"region": "a", "tags": {"t": []}}, "cloud.tags.t: must be a text, not a list"),
        ({"region": "a", "inner": {"sizeBytes": "big"}}, "cloud.inner.sizeBytes: must be a whole number, not a text"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(section: object, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read_section(Options, section, "cloud")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("- local", "must have a section for each provider, not a list"),
        ("a: {", "cannot be read"),
        ("azure: {}", "azure: unknown provider"),
    ],
)
def test_a_file_that_is_none_is_refused(content: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "cloud.yaml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=words):
        load_sections(file, PROVIDERS)


def test_an_empty_file_has_no_sections(tmp_path: Path) -> None:
    file = tmp_path / "cloud.yaml"
    file.write_text("# nothing yet\n")
    assert load_sections(file, PROVIDERS) == {}


def test_a_provider_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match="there is no cloud provider 'azure'; there are aws, external, local"):
        provider_type("azure")
