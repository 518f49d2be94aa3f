"""Every SQL statement of profile, by what it is about. Functions take `work`, a transaction that somebody else ends.

Rows arrive and are locked in the order of their keys, and the tables in this one: fragments, parts, profiles,
identifiers, groups. So two writers wait for each other where they would deadlock. What is left, profiles that two
merges create or find only on their way, PostgreSQL breaks up, and the batch is tried again. A batch is a handful of
statements over
`unnest` arrays, however many rows it has.
"""
