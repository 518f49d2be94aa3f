"""Every SQL statement of profile, by what it is about. Functions take `work`, a transaction that somebody else ends.

A batch is a handful of statements over `unnest` arrays, however many rows it has. Rows arrive and are locked in the
order of their keys, and the locks are taken in one order by all, so that two wait for each other where they would
deadlock:

1. stream_offset and event_seen: which records a batch applies.
2. Advisory: `segments`, of who saves one. The row of a definition, a segment, a proposal: whoever defines, fills or
   decides. Who only works through them takes one that is free.
3. Advisory: `ruling`, and after it `computed`. Batches share both, publishers and readers of computed traits the
   second; who rules, or defines, shows and deletes what is computed, is alone with it. Nobody waits for being alone
   who holds anything of what follows.
4. fragment, computed_part, timeline: what a batch adds, and what history is filled with.
5. profile, then identifier and edge. Then view, group_member, segment_member, segment_change and signal, which only the
   publisher writes, but for `view.due_at` of those who are due.
6. group_fragment, last: what a whole company shares.

Nobody waits for a claim to publish, for who looks for the due or counts, and not for long to make or drop a partition.
What is left, profiles that two merges create or find only on their way, PostgreSQL breaks up, and it is tried again.
"""
