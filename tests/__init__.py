"""The tests: core (no network), rest and delivery (client, local servers), e2e (the real process)."""
