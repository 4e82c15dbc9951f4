"""What talks to Intercom, to its status page and to our service, and what writes evidence."""
