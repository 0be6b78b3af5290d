"""The server and the relay of the end-to-end tests."""

from tests.e2e.conftest import relay, start

__all__ = ["relay", "start"]
