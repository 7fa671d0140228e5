"""Logs that an engine writes to files of this machine, and rotates: what is the same whatever the files are called and written in."""
