"""What went wrong in a call to AWS, as one of the errors a provider may answer."""

from __future__ import annotations

import contextlib
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
)

from services.cloud.errors import ProviderError, Refused, Throttled, Unavailable

# AWS says for how long only now and then.
RETRY_AFTER_SECONDS = 5.0
RETRY_AFTER_LIMIT_SECONDS = 300.0

THROTTLING = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "BandwidthLimitExceeded",
        "SlowDown",
        "EC2ThrottledException",
        "PriorRequestNotComplete",
    }
)
FORBIDDEN = frozenset(
    {
        "UnauthorizedOperation",
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "OptInRequired",
        "OperationNotPermitted",
    }
)
# The rest of AWS has not caught up yet with something that was just made, changed or removed.
TRANSIENT = frozenset(
    {
        "ResourceInUse",
        "DependencyViolation",
        "DuplicateLoadBalancerName",
        "DuplicateTargetGroupName",
        "DuplicateListener",
        "InvalidGroup.Duplicate",
        "LoadBalancerNotFound",
        "TargetGroupNotFound",
        "ListenerNotFound",
        "InvalidGroup.NotFound",
        "InvalidSecurityGroupID.NotFound",
        "IncorrectInstanceState",
        "InvalidTarget",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "ServiceUnavailable",
        "Unavailable",
        "RequestTimeout",
        "RequestTimeoutException",
    }
)


def error_code(error: Exception) -> str:
    """AWS' word for an error, such as ``InvalidGroup.NotFound``; empty when AWS did not answer."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def explained(action: str, error: BotoCoreError | ClientError) -> ProviderError:
    """The error of a call, ``action`` being its name in IAM, ``elasticloadbalancing:CreateListener``."""
    if isinstance(error, ClientError):
        return _answered(action, error.response)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return Refused(
            f"{action}: no AWS credentials are found: give the machine a role, or set AWS_ACCESS_KEY_ID or aws.profile ({error})"
        )
    if isinstance(error, NoRegionError):
        return Refused("aws.region: must be set, for AWS' environment names no region")
    if isinstance(error, ParamValidationError):
        return Refused(f"{action} is not possible: {error}")
    if isinstance(error, ConnectionError | HTTPClientError):
        return Unavailable(f"{action}: AWS is not reached: {error}")
    return Refused(f"{action}: {error}")


def _answered(action: str, response: dict[str, Any]) -> ProviderError:
    code = str(response.get("Error", {}).get("Code", ""))
    message = str(response.get("Error", {}).get("Message", "")).strip()
    metadata = response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    if code in THROTTLING or status == 429:
        return Throttled(f"{action}: AWS asks to slow down: {message or code}", _retry_after(metadata.get("HTTPHeaders", {})))
    if code in FORBIDDEN or status in (401, 403):
        return Refused(
            f"{action}: AWS does not allow it ({code}): give the role of the cloud controller manager this permission: {message}"
        )
    if code in TRANSIENT or status >= 500:
        return Unavailable(f"{action}: {message or 'AWS fails'} ({code or status})")
    return Refused(f"{action}: {message} ({code})")


def _retry_after(headers: dict[str, str]) -> float:
    with contextlib.suppress(ValueError):
        said = float(headers.get("retry-after", ""))
        # Nothing that is said, nor no number at all, shall silence the manager for hours.
        if said >= 0:
            return min(max(1.0, said), RETRY_AFTER_LIMIT_SECONDS)
    return RETRY_AFTER_SECONDS
