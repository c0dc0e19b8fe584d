"""The ASGI application of one gateway: routes, error bodies, and what surrounds every request."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from deployments.auth import Authenticator
from deployments.errors import ApiError, from_exception
from deployments.middleware import App, Around
from deployments.routes.chat import chat_routes
from deployments.routes.files import file_routes
from deployments.routes.health import health_routes
from deployments.routes.image_edits import image_edit_routes
from deployments.routes.images import image_routes
from deployments.routes.models import model_routes
from deployments.routes.segmentations import segmentation_routes
from deployments.routes.video_work import video_work_routes
from deployments.routes.videos import video_routes
from deployments.service import Service

_logger = logging.getLogger(__name__)
_ROUTES = (
    chat_routes,
    image_routes,
    image_edit_routes,
    segmentation_routes,
    video_work_routes,
    video_routes,
    file_routes,
    model_routes,
    health_routes,
)


def make_http(service: Service, authenticator: Authenticator) -> App:
    """Build the application."""
    # Bodies are validated by `deployments.body`, which FastAPI's generated schema would not know.
    app = FastAPI(title="VITRON", openapi_url=None)
    for routes in _ROUTES:
        app.include_router(routes(service))

    async def on_error(request: Request, error: Exception) -> Response:
        problem = from_exception(error, service.args.limits.retry_after_s)
        if problem.status >= 500:
            _logger.error("request %s failed", request.scope["request_id"], exc_info=error)
        return problem.response()

    for kind in (ApiError, HTTPException, Exception):
        app.add_exception_handler(kind, on_error)
    return Around(app, service.args.limits, authenticator, service.metrics)
