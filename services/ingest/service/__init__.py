"""The use cases of ingest. Each gathers, lets the domain decide, and applies what it decided; none commits.

`taking` takes in what clients send, by what `registry` holds in memory and `counts` adds up; `sources`, `planning`,
`inferring` and `rejected` are the desk's; `importing` takes in files.
"""
