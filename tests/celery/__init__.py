"""Celery as the drive: a real broker, real workers and beat."""
