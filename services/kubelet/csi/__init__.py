"""Volumes of drivers: which drivers the node has, and what they are asked for its pods."""
