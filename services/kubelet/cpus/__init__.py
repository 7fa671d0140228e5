"""Who has which processors of the node: what there are, who is given some alone, what all others share."""
