"""The Common Expression Language, as Kubernetes uses it: parsed, checked against types, bounded in cost, and evaluated.

https://github.com/google/cel-spec/blob/master/doc/langdef.md; ``docs/decisions/cel.md`` says why it is Knarr's own.
"""
