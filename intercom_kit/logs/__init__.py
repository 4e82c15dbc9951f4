"""Logs of any tool, read: which file is what, which columns are ours, and the rollup that is counted of them."""
