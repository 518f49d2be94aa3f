"""Every SQL statement of the personalize service, by what it is about.

Functions take `work`, a connection inside a transaction that somebody else commits. Several rows are always locked in
the order of their keys (collation C, as Python sorts), so that two writers wait for each other and never deadlock.
Whoever writes outcomes and evidence writes outcomes first.
"""
