"""Admission: checks and changes that concern more than one kind, in two phases. ``catalog`` has the plugins, one folder each."""
