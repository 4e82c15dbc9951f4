"""A rollup to findings: statistics, frames in and frames out; pure."""
