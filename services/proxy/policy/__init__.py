"""NetworkPolicy: who may reach this node's pods, and whom they may reach.

``facts`` are what the objects say, ``engine`` decides without I/O, ``model`` is the ruleset it wants and the steps to it, ``kernel`` takes
them, ``enforcement`` keeps all of it in step with the API. ``explain`` answers for one connection why it may pass or not.
"""
