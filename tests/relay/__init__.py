"""A real SMTP server for the tests, as its own process, that misbehaves by script and logs what it accepts."""
