"""Datapaths: what carries a Service's connections to its endpoints."""
