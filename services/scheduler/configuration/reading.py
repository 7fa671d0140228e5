"""The file of ``--config``: read, told of where it makes no difference, and made the scheduler's settings."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from knarr.client.leader import Election
from knarr.service.configuration_file import read_configuration
from services.scheduler.configuration.configuration import Configuration, parse_configuration
from services.scheduler.configuration.document import KIND
from services.scheduler.outside import find_outside
from services.scheduler.settings import SchedulerSettings

logger = logging.getLogger(__name__)


def read_scheduler_configuration(file: Path) -> Configuration:
    """Raises CommandError with the name of the file and all that is wrong with it."""
    return read_configuration(file, KIND, lambda text: parse_configuration(text, find_outside))


def settings_of(configuration: Configuration, election: Election | None = None) -> SchedulerSettings:
    """The scheduler's settings; tells in the log of what is said in vain."""
    for words in configuration.unused:
        logger.warning("the scheduler's configuration says something that makes no difference: %s", words)
    fresh = SchedulerSettings()
    return SchedulerSettings(
        profiles=configuration.profiles,
        election=fresh.election if election is None else election,
        backoff_first_seconds=configuration.backoff_first_seconds,
        backoff_limit_seconds=configuration.backoff_limit_seconds,
        extenders=configuration.extenders,
    )


def elect_by(configuration: Configuration, parser: argparse.ArgumentParser) -> None:
    """Makes what a file says of leader election the default of the options; who gives an option means that."""
    found = configuration.leader_election
    given: dict[str, Any] = {
        "leader_elect": found.leader_elect,
        "leader_elect_lease_duration": found.lease_duration,
        "leader_elect_renew_deadline": found.renew_deadline,
        "leader_elect_retry_period": found.retry_period,
    }
    parser.set_defaults(**{name: value for name, value in given.items() if value is not None})
