"""Computed traits: what people define over the events of a person, such as `orders in the last 30 days`.

definitions.py  what is defined; which events it is about
cells.py        the nine aggregates: what one event adds, how that adds up, what it comes out as
sketches.py     distinct and most_frequent: exact up to a limit, and then of a sample that says so
parts.py        what the events of one identifier add up to, day by day
answers.py      the value for a person as of a moment, and when that may change with no event
filling.py      the way through history when a definition is new
"""
