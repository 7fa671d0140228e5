"""Secrets that have the token of a service account for as long as they are there, and how it is known that nobody uses one.

The API server writes on such a Secret the day on which its token was used last, and in a ConfigMap since when it does so. What was not used
for a year and is an account's from before 1.24, when each had one, is marked, and deleted when it stays so for as long again.
"""

from __future__ import annotations

from datetime import date

TYPE = "kubernetes.io/service-account-token"
# Annotations: the account.
ACCOUNT, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
TOKEN = "token"
# Labels, days in ISO's form. A token that is marked is taken no longer.
LAST_USED, INVALID_SINCE = "kubernetes.io/legacy-token-last-used", "kubernetes.io/legacy-token-invalid-since"
# The ConfigMap, and its key.
TRACKING_NAMESPACE, TRACKING_NAME, SINCE = "kube-system", "kube-apiserver-legacy-service-account-token-tracking", "since"
DAY = "%Y-%m-%d"


def day(text: str) -> date | None:
    """None for what is no day in that form."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if found.strftime(DAY) == text else None
