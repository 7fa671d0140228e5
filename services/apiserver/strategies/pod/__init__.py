"""Pods: defaults, validation, table."""
