"""What profile decides: who is who, what is known of them, which segments and stage they are in.

Pure functions over frozen values. Everything here is a function of the *set* of touchpoints: whatever their order,
batches or duplicates, the answer is the same.
"""
