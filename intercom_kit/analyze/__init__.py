"""Request logs to a rollup, frames in, frames out; pure but for reading files."""
