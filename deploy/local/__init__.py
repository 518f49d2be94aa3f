"""The local stack: PostgreSQL, Kafka and the four services on one machine, without Docker, kept up by a supervisor.

cli          what a person types: up, down, status, logs, reset
control      starts, follows and ends the supervisor, from outside
daemon       the supervisor's process: checks the machine, composes the stack, supervises it
supervisor   starts in order of readiness, restarts, ends in reverse; knows programs and tasks, and no Kafka
stack        which programs and tasks, in which stages; with postgres, kafka, roles and services
rotation     keeps logs small; scratch is the folder that Kafka unpacks its libraries into
processes    starts and recognises processes; home and keys are the state folder and its secrets
servers      PostgreSQL and Kafka alone, for tests
"""
