"""The one clock. Call `clock.utcnow()` through the module, so that a test can move time for everybody."""

from datetime import UTC, datetime


def utcnow() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 -- the one place that may
