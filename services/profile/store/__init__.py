"""Every SQL statement of profile, by what it is about. Functions take `work`, a transaction that somebody else ends.

Rows arrive and are locked in the order of their keys, so that two writers wait for each other and never deadlock; and
the tables always in this order: fragments, profiles, identifiers. A batch is a handful of statements over `unnest`
arrays, however many rows it has.
"""
