"""The models that a backend has, and the one that its jobs are for."""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from dispatchd.core.errors import Unusable

_SHOWN_MAX = 20
_OLLAMAS_DEFAULT_TAG = ":latest"


class ListedModel(Struct, frozen=True):
    """A model, as `GET /models` lists it; servers of a kind own their models by the same name."""

    id: Annotated[str, Meta(min_length=1)]
    owned_by: str | None = None


class ModelList(Struct, frozen=True):
    """The reply; Ollama has null where there is none."""

    data: list[ListedModel] | None = None


def choose(listed: Sequence[ListedModel], wanted: str | None, url: str) -> ListedModel:
    """The model of that name, or the only one; raises `Unusable` naming what there is."""
    if not listed:
        raise Unusable(f"The backend at {url} has no model yet: load one there")
    by_name = {model.id: model for model in listed}
    there = ", ".join(list(by_name)[:_SHOWN_MAX])
    if wanted is None and len(by_name) > 1:
        raise Unusable(f"The backend at {url} has several models; give --model one of: {there}")
    if wanted is None:
        return listed[0]
    found = by_name.get(wanted) or by_name.get(wanted + _OLLAMAS_DEFAULT_TAG)
    if found is None:
        raise Unusable(f"The backend at {url} has no model {wanted!r}; it has: {there}")
    return found
