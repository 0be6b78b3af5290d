"""Postroom: a self-hosted notification API."""
