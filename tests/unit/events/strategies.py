"""Events of every kind, drawn from the records' own types."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from proctor.events import KINDS, VERSION, Event

_INTEGERS = st.integers(min_value=-(2**63), max_value=2**63 - 1)
_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
_PLAIN: dict[type[inspect.Type], st.SearchStrategy[Any]] = {
    inspect.NoneType: st.none(),
    inspect.BoolType: st.booleans(),
    inspect.IntType: _INTEGERS,
    inspect.FloatType: st.floats(allow_nan=False, allow_infinity=False),
    inspect.StrType: _TEXT,
    inspect.AnyType: st.none() | st.booleans() | _INTEGERS | _TEXT,
}


def _of(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Return a strategy for one field's type. KeyError: a stored record uses a type that the tests do not know."""
    match kind:
        case inspect.UnionType(types=types):
            return st.one_of([_of(member) for member in types])
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case inspect.VarTupleType(item_type=item):
            return st.lists(_of(item), max_size=3).map(tuple)
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_of(key), _of(value), max_size=3)
        case inspect.StructType(cls=cls):
            return records(cls)
    return _PLAIN[type(kind)]


def records(cls: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    described = inspect.type_info(cls)
    assert isinstance(described, inspect.StructType)
    return st.builds(
        cls, **{field.name: _of(field.type) for field in described.fields if field.name != "v"}, **_fixed(cls)
    )


def _fixed(cls: type[msgspec.Struct]) -> dict[str, st.SearchStrategy[Any]]:
    return {"v": st.just(VERSION)} if issubclass(cls, Event) else {}


def events() -> st.SearchStrategy[Any]:
    return st.one_of([records(cls) for cls in KINDS.values()])
