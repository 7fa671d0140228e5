"""What a provider may answer besides what was asked for.

All three are tried again: the words reach the user as an event on the object. They are ``StatusError``s, so they cross the gRPC border as
RESOURCE_EXHAUSTED, UNAVAILABLE, INVALID_ARGUMENT and UNIMPLEMENTED without anybody's help.
"""

from __future__ import annotations

import math

from knarr.machinery.errors import StatusError, status_error


class ProviderError(StatusError):
    """A call to a provider did not do what was asked. Raise one of the classes below."""

    def __init__(self, reason: str, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(status_error(reason, message, retry_after_seconds=math.ceil(retry_after_seconds)).status)
        self.retry_after_seconds = retry_after_seconds


class Throttled(ProviderError):
    """The provider asks to slow down. ``retry_after_seconds`` 0: it did not say for how long."""

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__("TooManyRequests", message, retry_after_seconds)


class Unavailable(ProviderError):
    """The provider is not reached, fails, or answers too late."""

    def __init__(self, message: str) -> None:
        super().__init__("ServiceUnavailable", message)


class Refused(ProviderError):
    """The user has to change something; the words name the field or annotation and the way out."""

    def __init__(self, message: str) -> None:
        super().__init__("Invalid", message)


class Unsupported(ProviderError):
    """The provider does not implement the call; ``GetInfo`` says so beforehand."""

    def __init__(self, message: str) -> None:
        super().__init__("MethodNotAllowed", message)
