"""`GET /health` and `GET /metrics`: what monitoring asks."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from deployments.metrics import CONTENT_TYPE
from deployments.service import Service


def health_routes(service: Service) -> APIRouter:
    """Build the routes."""
    router = APIRouter()

    @router.get("/health")
    async def health() -> Response:
        parts = await service.readiness()
        ready = all(parts.values())
        body = {"status": "ok" if ready else "unavailable", "parts": parts}
        headers = {} if ready else {"Retry-After": str(service.args.limits.retry_after_s)}
        return JSONResponse(body, status_code=200 if ready else 503, headers=headers)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    return router
