"""The pod network: how a node reaches the pods of the others, and how its own pods reach the outside.

``plan`` decides without I/O, ``links`` speaks netlink, ``masquerade`` is our nftables table, ``network`` keeps them in step with the Nodes.
"""
