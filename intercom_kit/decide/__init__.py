"""Check records in, verdict out; pure."""
