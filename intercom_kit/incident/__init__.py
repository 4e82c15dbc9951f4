"""Everything known of one incident: its lifecycle, timeline, figures, triage, messages."""
