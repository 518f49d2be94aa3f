"""The one way in which the demo fails: a sentence for the person who started it."""

from __future__ import annotations


class DemoFailed(Exception):
    """The demo can't go on; the text says why and, where there is something to type, what."""
