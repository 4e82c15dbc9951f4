"""The loopback Intercom, its scenarios, traffic and score."""
