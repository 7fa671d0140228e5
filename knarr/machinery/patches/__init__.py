"""The three patch languages, one file each. All work on JSON objects and leave their arguments alone."""
