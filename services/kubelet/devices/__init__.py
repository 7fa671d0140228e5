"""Devices that claims of pods have: their drivers, what these make ready, and how containers get it."""
