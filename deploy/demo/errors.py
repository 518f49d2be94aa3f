"""How the demo fails: with a sentence for the person who started it.

DemoFailed
└── NotThere    nobody and nothing of that name, or not yet
"""

from __future__ import annotations


class DemoFailed(Exception):
    """The demo can't go on; the text says why and, where there is something to type, what."""


class NotThere(DemoFailed):
    """A service does not know what was asked for. Whoever has just told it may ask again."""
