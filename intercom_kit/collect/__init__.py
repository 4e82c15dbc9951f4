"""Everything that touches the world; nothing else in the kit does network I/O."""
