"""What is shown and archived; nothing is computed here."""
