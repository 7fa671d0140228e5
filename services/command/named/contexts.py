"""Contexts of named clusters in the person's own kubeconfig: added, taken out, chosen.

Which file that is, kubectl's rules say: those of KUBECONFIG, or ~/.kube/config. A file is locked by FILE.lock, as kubectl and its
library do it, so that none of both loses what the other writes. Ours names its owner and is held by flock, so that one of a command
that was killed is known for what it is.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from knarr.service.errors import CommandError
from knarr.service.files import PRIVATE, sweep, write_whole
from services.command.named import kubeconfig_text, place
from services.standalone.machine import as_caller

PREFIX = "knarr-"
MARK = b"knarr\n"
# Eight commands at once on a busy machine have their turns within it.
LOCK_SECONDS = 60.0
POLL_SECONDS = 0.02


def context_of(name: str) -> str:
    """What the context of a named cluster is called; so are the cluster and the user in it."""
    return f"{PREFIX}{name}"


def files() -> list[Path]:
    """The person's kubeconfigs, the first one first."""
    named = [Path(part).absolute() for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return named or [place.home() / ".kube" / "config"]


def check() -> None:
    """Raises CommandError where a context could not be written later on."""
    with as_caller():
        for path in files():
            _read(path)
        _writable(_target())


def add(name: str, kubeconfig: Path) -> Path:
    """Makes a named cluster's kubeconfig a context, the current one; answers in which file. Raises CommandError."""
    try:
        entries = _entries(context_of(name), orjson.loads(kubeconfig.read_bytes()))
    except (ValueError, TypeError, LookupError):
        raise CommandError(f"{kubeconfig} is damaged; `knarr down --name {name}` and `knarr up --name {name}` make it anew") from None
    with as_caller():
        path = _target()
        for other in files():
            # kubectl takes the first that it finds.
            if other != path:
                _change(other, lambda text: kubeconfig_text.without_context(text, context_of(name)))
        _change(path, lambda text: kubeconfig_text.with_context(text, entries))
        return path


def remove(name: str) -> list[Path]:
    """Takes a named cluster's context out again; answers from which files. Raises CommandError."""
    with as_caller():
        return [path for path in files() if _change(path, lambda text: kubeconfig_text.without_context(text, context_of(name)))]


def current() -> str:
    """The current context; empty where there is none, or where a file cannot be read."""
    with as_caller():
        for path in files():
            with suppress(CommandError):
                if found := kubeconfig_text.current(kubeconfig_text.read(_read(path))):
                    return found
    return ""


def _entries(name: str, own: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        "clusters": {"name": name, "cluster": own["clusters"][0]["cluster"]},
        "contexts": {"name": name, "context": {"cluster": name, "user": name}},
        "users": {"name": name, "user": own["users"][0]["user"]},
    }


def _target() -> Path:
    """Where something new is written: the first file that says which context is current, else the first that is there, else the last."""
    found = files()
    for path in found:
        if kubeconfig_text.current(kubeconfig_text.read(_read(path))):
            return path
    return next((path for path in found if path.exists()), found[-1])


def _read(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            # A device or a pipe would be replaced by a file, and reading it might never end.
            raise CommandError(f"{path} is no ordinary file; name another kubeconfig by KUBECONFIG")
        # As bytes: the ends of its lines, too, are its owner's.
        text = path.read_bytes().decode()
        kubeconfig_text.read(text)
        return text
    except FileNotFoundError:
        return ""
    except (kubeconfig_text.Damaged, UnicodeDecodeError) as error:
        raise CommandError(f"{path} is no kubeconfig: {error}; mend it, or name another by KUBECONFIG") from None
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}; mend that, or name another kubeconfig by KUBECONFIG") from None


def _writable(path: Path) -> None:
    whole = path.resolve()
    folder = next(folder for folder in whole.parents if folder.exists())
    if not os.access(folder, os.W_OK | os.X_OK) or (whole.exists() and not os.access(whole, os.W_OK)):
        raise CommandError(f"you may not write {path}; mend that, or name another kubeconfig by KUBECONFIG")


def _change(path: Path, change: Callable[[str], str]) -> bool:
    """Changes a file, if there is something to change. A link is followed, and the file's mode kept."""
    if _made(path, change) is None:
        return False
    with suppress(FileExistsError):
        path.parent.mkdir(parents=True, mode=0o700)
    with locked(path):
        # It may have been changed meanwhile.
        if (made := _made(path, change)) is None:
            return False
        whole = path.resolve()
        _sweep(path, whole)
        mode = whole.stat().st_mode & 0o777 if whole.exists() else PRIVATE
        write_whole(whole, made.encode(), mode=mode)
        return True


def _made(path: Path, change: Callable[[str], str]) -> str | None:
    """What would become of a file; None where nothing would. Raises CommandError."""
    text = _read(path)
    try:
        made = change(text)
    except kubeconfig_text.Damaged as error:
        raise CommandError(f"{path} was left as it is: {error}; mend it, or name another by KUBECONFIG") from None
    return None if made == text else made


@contextmanager
def locked(path: Path, wait_seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Holds FILE.lock, for which it waits while another program has it. Raises CommandError."""
    lock = path.with_name(f"{path.name}.lock")
    deadline = time.monotonic() + wait_seconds
    while (descriptor := _taken(lock)) is None:
        if time.monotonic() >= deadline:
            raise CommandError(f"{lock} is there: another program changes {path}; if none does, remove {lock}")
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _taken(lock: Path) -> int | None:
    """The descriptor by which the lock is held; None where somebody else has it."""
    aside = lock.with_name(f".{lock.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE)
    try:
        os.write(descriptor, MARK)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # It appears whole and held, or not at all.
        os.link(aside, lock)
    except (FileExistsError, FileNotFoundError):
        # The second: who has the lock has swept this one away.
        os.close(descriptor)
        _clear(lock)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        aside.unlink(missing_ok=True)
    return descriptor


def _sweep(path: Path, whole: Path) -> None:
    """Removes what commands left that were killed on their way. The caller holds the lock."""
    sweep(whole.parent, whole.name)
    for aside in path.parent.glob(f".{path.name}.lock.*"):
        aside.unlink(missing_ok=True)


def _clear(lock: Path) -> None:
    """Removes a lock of ours whose owner was killed: nobody holds it any more."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # While it is held, who comes second finds another file of that name, or none.
        if os.read(descriptor, len(MARK) + 1) == MARK and lock.stat().st_ino == os.fstat(descriptor).st_ino:
            lock.unlink()
    except OSError:
        return
    finally:
        os.close(descriptor)
