"""Conversions of custom resources by webhooks."""
