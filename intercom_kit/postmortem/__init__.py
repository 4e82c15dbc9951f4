"""From an incident to its postmortem: the document, the suggestions and the linter."""
