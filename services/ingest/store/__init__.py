"""Every SQL statement of ingest, by what it is about. Functions take `work`, a transaction that somebody else ends."""
