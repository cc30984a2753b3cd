"""Pages of ListModels."""

from __future__ import annotations

from collections.abc import Sequence

from marsys.v1 import ListModelsRequest, ListModelsResponse, Model
from serving.errors import invalid

_DEFAULT_SIZE = 100
_MAX_SIZE = 1000


def page_of(models: Sequence[Model], request: ListModelsRequest) -> ListModelsResponse:
    """The page that a request asks for.

    The token is the name of the last model of the page before, so that a list that changes
    meanwhile neither repeats nor skips what stays.

    Args:
        models: all models, by name.
        request: page size and token.

    Raises:
        ServiceError: the page size is out of range.
    """
    if not 0 <= request.page_size <= _MAX_SIZE:
        raise invalid("page_size", f"must be 0 to {_MAX_SIZE}")
    size = request.page_size or _DEFAULT_SIZE
    rest = [model for model in models if model.name > request.page_token]
    page = rest[:size]
    token = page[-1].name if len(rest) > size else ""
    return ListModelsResponse(models=page, next_page_token=token)
