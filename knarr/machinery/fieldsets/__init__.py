"""Which fields of an object belong to whom: sets of fields, what tells two objects apart, and what applying one to another makes of it.

Pure, on JSON values. What a value is made of (lists by key, sets, what changes hands only as a whole) says its ``Shape``; one is derived
from the contracts, another may be from any schema. Specified by Kubernetes' server-side apply and its structured-merge-diff.
"""
