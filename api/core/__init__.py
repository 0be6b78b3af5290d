"""Tables, rules, outbox and rendering: no HTTP, no SMTP."""
