"""What can go wrong in scoring, and what the client is told.

TemasError
├── ProfileNotFound      404 profile_not_found
├── ModelNotFound        404 model_not_found
├── ModelNotReady        409 model_not_ready: it is still being fitted, or its fit failed
└── NoModel              409 no_model: nothing is active yet, so there is nothing to measure with
"""

from __future__ import annotations

from shared.errors import NotFound, TemasError


class ProfileNotFound(NotFound):
    code = "profile_not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class ModelNotReady(TemasError):
    status = 409
    code = "model_not_ready"


class NoModel(TemasError):
    status = 409
    code = "no_model"
