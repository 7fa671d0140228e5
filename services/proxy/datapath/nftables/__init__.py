"""The kernel's datapath: one nftables table, exact round robin by ``numgen inc``."""
