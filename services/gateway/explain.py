"""What routes ask for and do, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.gateway.routing.actions import TCP, Action, Endpoints, Rewrite
from services.gateway.routing.table import Match, Step


def condition_words(match: Match) -> list[str]:
    """What besides host and path a request must have."""
    found = [f"method {match.method}"] if match.method else []
    for what, conditions in (("header", match.headers), ("cookie", match.cookies), ("query parameter", match.query)):
        found += [f"{what} {each.name} {'like' if each.regex else '='} {each.value}" for each in conditions]
    return found


def action_words(action: Action) -> str:
    return "; ".join(_words(action))


def _words(action: Action) -> Iterator[str]:
    if action.choices:
        whole = sum(weight for weight, _ in action.choices)
        yield from (f"{weight} of {whole}: {', '.join(_words(choice))}" for weight, choice in action.choices)
        return
    options = action.options
    if options.allowed:
        yield f"only from {', '.join(options.allowed)}"
    if options.login is not None:
        yield f"with a password of one of {len(options.login.users)} users"
    if options.body_bytes:
        yield f"bodies of up to {options.body_bytes:,} bytes"
    if action.redirect is not None:
        to = action.redirect
        yield f"redirected ({to.status}) to {to.scheme}://{to.host or 'the same host'}{f':{to.port}' if to.port else ''}"
        return
    total = sum(share.weight for share in action.targets)
    for share in action.targets:
        part = f"{share.weight} of {total} to " if len(action.targets) > 1 else ""
        yield f"{part}{share.target}" if share.target is not None else f"{part}nobody: answered {share.status}"
    if action.rewrite is not None:
        yield from _rewrite_words(action.rewrite)
    if options.cookie is not None:
        yield f"a client stays with its pod by the cookie {options.cookie.name}"
    elif options.affinity_seconds:
        yield "a client's address stays with its pod"
    for mirror in action.mirrors:
        part = "" if mirror.part >= mirror.whole else f" of {mirror.part} in {mirror.whole}"
        yield f"a copy{part} to {mirror.target}"


def _rewrite_words(rewrite: Rewrite) -> Iterator[str]:
    if rewrite.host:
        yield f"host becomes {rewrite.host}"
    if rewrite.path is not None:
        yield f"path becomes {rewrite.path}"
    elif rewrite.prefix is not None:
        yield f"{rewrite.prefix or '/'} becomes {rewrite.replacement or '/'}"
    elif rewrite.pattern is not None:
        yield f"what {rewrite.pattern} matches becomes {rewrite.replacement}"


def result_words(steps: Sequence[Step], endpoints: Endpoints, *, passed: bool = False) -> str:
    """What a client is answered, or who answers it. ``passed``: at its port TLS is passed on, and ends for nobody."""
    if not steps or not steps[-1].taken:
        return "the connection is ended: no TLSRoute has this name" if passed else "404: no route takes it"
    action = steps[-1].route.action
    if not action.choices:
        return _result(action, endpoints)
    whole = sum(weight for weight, _ in action.choices)
    return "; ".join(f"{weight} of {whole}: {_result(choice, endpoints)}" for weight, choice in action.choices)


def _result(action: Action, endpoints: Endpoints) -> str:
    if action.redirect is not None:
        return action_words(action)
    if action.options.protocol == TCP:
        return _led(action, endpoints) or "the connection is ended: its Service is not there, or has no endpoint that is ready"
    total = sum(share.weight for share in action.targets)
    lost = [share for share in action.targets if share.target is None and share.weight]
    nobody = sum(share.weight for share in lost)
    if nobody == total:
        return f"{lost[0].status if lost else 500}: it leads to no Service"
    led = _led(action, endpoints) or "503: its Service has no endpoint that is ready"
    return f"{led}, but for {nobody} of {total} that are answered {lost[0].status}" if lost else led


def _led(action: Action, endpoints: Endpoints) -> str:
    """To how many it leads; empty: to none."""
    found = {server for share in action.targets if share.target and share.weight for server in endpoints.get(share.target, ())}
    return f"goes to one of {len(found)} endpoints" if found else ""
