"""The use cases of scoring. Each gathers, lets the domain decide, and applies what it decided.

`scores` keeps and computes scores, `models` looks after model versions, `fits` fits them in a process of their own,
`reports` measures over all customers.
"""
