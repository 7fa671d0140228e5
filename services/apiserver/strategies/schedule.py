"""What is wrong with a CronJob's schedule or its time zone, in Kubernetes' words."""

from __future__ import annotations

from knarr.machinery.cron import InvalidSchedule, UnknownZone, parse_schedule, split_zone, zone_of


def schedule_error(text: str) -> str:
    """What is wrong with a schedule; empty when nothing is."""
    zone, text = split_zone(text)
    if zone is not None and (unknown := zone_error(zone)):
        return f"provided bad location {zone}: {unknown}"
    try:
        parse_schedule(text)
    except InvalidSchedule as error:
        return str(error)
    return ""


def zone_error(name: str) -> str:
    """Why a time zone is not known; empty when it is."""
    try:
        zone_of(name)
    except UnknownZone as error:
        return str(error)
    return ""
