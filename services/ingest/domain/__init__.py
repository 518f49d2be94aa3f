"""What ingest decides: which calls can be used, what they say, and what is wrong with those that can't."""
