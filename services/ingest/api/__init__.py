"""HTTP in: the tracking API, and its documentation."""

from services.ingest.api.documentation import document
from services.ingest.api.tracking import tracking_routes

__all__ = ["document", "tracking_routes"]
