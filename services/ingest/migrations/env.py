from services.ingest.tables import METADATA
from shared.db import run_migrations

run_migrations(METADATA)
