"""Use cases, each in three steps: gather, let the domain decide, apply. And what this process keeps in memory."""
