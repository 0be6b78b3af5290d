"""Clients made from the document."""
