"""The options that keep an audit log, as kube-apiserver spells them, and the auditor that follows from them."""

from __future__ import annotations

import argparse
from pathlib import Path

from knarr.service.errors import CommandError
from knarr.service.options import readable_file
from services.apiserver.audit.auditor import Auditor
from services.apiserver.audit.backlog import Backlog, Sink
from services.apiserver.audit.log_file import STDOUT, Keeping, LogFile, StandardOutput
from services.apiserver.audit.policy import Policy
from services.apiserver.audit.reading import read_policy

DEFAULTS = Keeping()


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--audit-policy-file",
        type=readable_file,
        metavar="FILE",
        help="a Policy of audit.k8s.io/v1: which requests are kept",
    )
    parser.add_argument("--audit-log-path", default="", metavar="FILE", help="where, as lines of JSON; - is the standard output")
    for name, default, what in (
        ("maxsize", DEFAULTS.megabytes, "megabytes of one file, before another one is begun"),
        ("maxage", DEFAULTS.days, "days that former files are kept; 0: any number"),
        ("maxbackup", DEFAULTS.files, "former files that are kept; 0: any number"),
    ):
        parser.add_argument(f"--audit-log-{name}", type=_number, default=default, metavar="N", help=f"{what} (default: %(default)s)")
    parser.add_argument("--audit-log-compress", action="store_true", help="compress former files")


def auditor_of(arguments: argparse.Namespace) -> Auditor | None:
    """None where no log is kept; CommandError where the options do not fit together, or the policy is broken."""
    file, path = arguments.audit_policy_file, arguments.audit_log_path
    if file is None and not path:
        return None
    if file is None or not path:
        raise CommandError("--audit-policy-file and --audit-log-path belong together: what is kept, and where")
    megabytes = arguments.audit_log_maxsize or DEFAULTS.megabytes
    keeping = Keeping(megabytes, arguments.audit_log_maxage, arguments.audit_log_maxbackup, arguments.audit_log_compress)
    return keeping_log(read_policy(file), path, keeping)


def keeping_log(policy: Policy, path: str, keeping: Keeping = DEFAULTS) -> Auditor:
    """What keeps by a policy, at a path. CommandError where there is no place for it."""
    if path != STDOUT and Path(path).is_dir():
        raise CommandError(f"--audit-log-path {path} is a folder: name a file in it")
    sink: Sink = StandardOutput() if path == STDOUT else LogFile(Path(path), keeping)
    return Auditor(policy, Backlog(sink))


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 999999")
    return int(text)
