"""Making anew what follows from the log: everything (`whole`), or what is known of one person (`person`).

The live tables are served from all the time. What is made anew stands in a schema beside them, is brought to exactly
the offsets that they have, and changes places with them in one transaction, while nobody absorbs.
"""
