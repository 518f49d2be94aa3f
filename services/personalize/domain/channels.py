"""Channels: which reach out to a person, and which a person comes to."""

from __future__ import annotations

OUTBOUND = frozenset({"email", "sms", "push", "call"})
"""Channels in which the company speaks first. Every other one (web, mobile, store, ...) the person has opened."""
