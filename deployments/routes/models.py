"""`GET /v1/models` and `GET /v1/models/{id}`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from deployments.models import check_model, describe
from deployments.service import Service


def model_routes(service: Service) -> APIRouter:
    """Build the routes."""
    router = APIRouter()

    @router.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        return {"object": "list", "data": [describe(service.args, service.graph.specialists, service.started)]}

    @router.get("/v1/models/{model_id}")
    async def get_model(model_id: str) -> dict[str, Any]:
        check_model(model_id, service.args)
        return describe(service.args, service.graph.specialists, service.started)

    return router
