"""The use cases of profile. Each gathers, lets the domain decide, and applies what it decided; none commits.

`absorbing` takes in what the log says, `publishing` tells what changed, `reading` answers, `segments` keeps the rules.
`defining` keeps what is computed, `filling` counts what happened before that was defined.
"""
