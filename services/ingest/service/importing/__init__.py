"""Taking in files: calls one a line (NDJSON), CSV and Parquet, judged as if they had come over HTTP.

`options` is what a person asks for; `opening` gives a file's bytes, `reading` and `parquet` its rows; `occurrences`
tells which rows say the same; `judging` makes touchpoints of rows, `delivering` gives them to Kafka; `progress` keeps
how far a file has been taken; `running` does all that for one file, `bar` shows it, `command` opens what is needed.

Only the command line imports these: a service that answers requests does not have to hold what they need.
"""
