"""The use cases of profile. Each gathers, lets the domain decide, and applies what it decided; none commits.

- what comes in: `absorbing`; what goes out: `publishing`, and `background` where only time has passed;
- who is who: `ruling`, `explaining`; likely duplicates: `proposing`, found by `matching`;
- one person: `reading`, `history` (timelines), `traits`; and `groups`;
- what people define: `segments`, `previewing`, `counting`; computed traits: `defining`, `defined`, `filling`;
- `timekeeping`: the timeline's partitions.

`rebuilding` and `matching` are an operator's: each opens what it needs, and their steps are transactions of their own.
"""
