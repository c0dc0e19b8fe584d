"""Lists in pages: `after`, `limit`, `order` of a request, and OpenAI's list object."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from deployments.errors import ApiError, shown

MAX_LIMIT = 100


class PageQuery(NamedTuple):
    """Which page is asked for."""

    after: str | None
    limit: int
    newest_first: bool

    def answer(self, data: list[dict[str, Any]], *, has_more: bool) -> Response:
        """Answer with a page."""
        return JSONResponse(
            {
                "object": "list",
                "data": data,
                "first_id": data[0]["id"] if data else None,
                "last_id": data[-1]["id"] if data else None,
                "has_more": has_more,
            }
        )


def page_query(request: Request, *, default: int) -> PageQuery:
    """Read the query of a list, `default` being its usual length."""
    query = request.query_params
    text = query.get("limit", str(default))
    limit = int(text) if text.isdecimal() and len(text) < 6 else 0
    if not 1 <= limit <= MAX_LIMIT:
        raise ApiError(400, f"limit: got {shown(text)}, expected 1 to {MAX_LIMIT}", param="limit")
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise ApiError(400, f"order: got {shown(order)}, expected asc or desc", param="order")
    return PageQuery(query.get("after"), limit, order == "desc")
