"""Random JSON schemas of the keywords that agents and applications use."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

_NAMES = st.sampled_from(["a", "b", "name", "size", "é", 'quo"te', "x y", "n1"])
_PATTERNS = st.sampled_from(
    ["^[a-z]{2,5}$", "^(foo|bar)$", "[0-9]{3}", "^a.*z$", "^\\d{4}-\\d{2}$", "^[A-Z][a-z]*$", "b"]
)
_FORMATS = st.sampled_from(["date", "date-time", "uuid", "ipv4"])
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-99, 99),
    st.sampled_from(["", "a", "b c", 'q"', "ü"]),
)


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    """Schemas whose root is an object, an array or a scalar."""
    return st.one_of(_nested(), _recursive(), _with_definitions())


def _nested() -> st.SearchStrategy[dict[str, Any]]:
    return st.recursive(
        _leaves(),
        lambda inner: st.one_of(
            _arrays(inner), _objects(inner), _unions(inner), _maps(inner), _merged(inner)
        ),
        max_leaves=6,
    )


def _leaves() -> st.SearchStrategy[dict[str, Any]]:
    kinds = st.sampled_from(["string", "integer", "null", "boolean"])
    return st.one_of(
        st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": "string"}]),
        st.builds(
            _bounded,
            st.sampled_from(["integer", "number"]),
            st.integers(-50, 50),
            st.integers(0, 60),
            st.booleans(),
        ),
        st.builds(lambda n: {"type": "integer", "multipleOf": n, "minimum": 0}, st.integers(1, 7)),
        st.just({"type": "number", "multipleOf": 0.5, "minimum": -10}),
        st.builds(_long, st.integers(0, 4), st.integers(0, 8)),
        st.builds(lambda pattern: {"type": "string", "pattern": pattern}, _PATTERNS),
        st.builds(lambda form: {"type": "string", "format": form}, _FORMATS),
        st.builds(
            lambda values: {"enum": values},
            st.lists(_SCALARS, min_size=1, max_size=4, unique_by=repr),
        ),
        st.builds(lambda value: {"const": value}, _SCALARS),
        st.builds(
            lambda types: {"type": types}, st.lists(kinds, min_size=2, max_size=3, unique=True)
        ),
    )


def _bounded(kind: str, low: int, more: int, exclusive: bool) -> dict[str, Any]:
    if exclusive:
        return {"type": kind, "exclusiveMinimum": low, "exclusiveMaximum": low + more + 2}
    return {"type": kind, "minimum": low, "maximum": low + more}


def _long(low: int, more: int) -> dict[str, Any]:
    return {"type": "string", "minLength": low, "maxLength": low + more}


def _arrays(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    def tuple_of(items: list[dict[str, Any]]) -> dict[str, Any]:
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}

    def array_of(items: dict[str, Any], low: int, more: int) -> dict[str, Any]:
        return {"type": "array", "items": items, "minItems": low, "maxItems": low + more}

    return st.one_of(
        st.builds(array_of, inner, st.integers(0, 2), st.integers(0, 2)),
        st.builds(tuple_of, st.lists(inner, min_size=1, max_size=3)),
    )


@st.composite
def _objects(draw: Any, inner: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    properties = draw(st.dictionaries(_NAMES, inner, min_size=1, max_size=4))
    names = list(properties)
    required = draw(st.lists(st.sampled_from(names), unique=True, max_size=len(names)))
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    more = draw(st.sampled_from(["open", "closed", "typed"]))
    if more == "closed":
        schema["additionalProperties"] = False
    elif more == "typed":
        schema["additionalProperties"] = {"type": "integer"}
    return schema


def _maps(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects whose keys aren't known beforehand."""
    return st.one_of(
        st.builds(
            lambda values, low, more: {
                "type": "object",
                "additionalProperties": values,
                "minProperties": low,
                "maxProperties": low + more,
            },
            inner,
            st.integers(0, 1),
            st.integers(0, 2),
        ),
        st.builds(
            lambda values: {
                "type": "object",
                "patternProperties": {"^k[0-9]$": values},
                "additionalProperties": False,
            },
            inner,
        ),
    )


def _merged(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Several schemas that hold together; some can't be compiled, or have no value at all."""
    return st.one_of(
        st.builds(lambda one, other: {"allOf": [one, other]}, _objects(inner), _objects(inner)),
        st.builds(lambda one, other: one | {"anyOf": [other]}, _objects(inner), _objects(inner)),
        st.builds(lambda some: {"oneOf": some}, st.lists(inner, min_size=1, max_size=3)),
    )


def _unions(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda some: {"anyOf": some}, st.lists(inner, min_size=1, max_size=3))


def _recursive() -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda leaf: {
            "type": "object",
            "properties": {"value": leaf, "next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}},
            "required": ["value", "next"],
        },
        _leaves(),
    )


def _with_definitions() -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda inner: {
            "$defs": {"one": inner},
            "type": "array",
            "items": {"$ref": "#/$defs/one"},
            "minItems": 1,
            "maxItems": 2,
        },
        _nested(),
    )
