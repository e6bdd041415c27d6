"""Values that a JSON Schema takes, and values near them: as much of the language as our document uses."""

from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]
Values = st.SearchStrategy[Any]
CHARACTERS = st.characters(codec="utf-8")
TEXTS = st.text(CHARACTERS, max_size=8)
ANYTHING: Values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=4,
)
# The bounds of a number that is written as text are said in words.
DECIMAL = "^-?[0-9]+$"
MOST = 4


def of(schema: Json, root: Json) -> Values:
    """Values of the schema, whose references point into `root`; lists are short."""
    if "$ref" in schema:
        found: Any = root
        for name in schema["$ref"].split("/")[1:]:
            found = found[name]
        return of(found, root)
    if "anyOf" in schema:
        rest = {name: part for name, part in schema.items() if name != "anyOf"}
        return st.one_of([of(_both(rest, part), root) for part in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return _of_type(schema, root)


def _of_type(schema: Json, root: Json) -> Values:
    match schema.get("type"):
        case list() as kinds:
            return st.one_of([of({**schema, "type": kind}, root) for kind in kinds])
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema["minimum"], schema["maximum"])
        case "string":
            return _texts(schema)
        case "array":
            items, unique = of(schema.get("items", {}), root), schema.get("uniqueItems", False)
            return st.lists(items, min_size=schema.get("minItems", 0), max_size=MOST, unique=unique)
        case "object":
            return _objects(schema, root)
    return ANYTHING


def _texts(schema: Json) -> Values:
    if schema.get("pattern") == DECIMAL:
        return st.integers(-(2**31), 2**31 - 1).map(str)
    if "pattern" in schema:
        return st.from_regex(schema["pattern"].replace("$", r"\Z"))
    return st.text(CHARACTERS, min_size=schema.get("minLength", 0), max_size=8)


def _objects(schema: Json, root: Json) -> Values:
    needed = schema.get("required", [])
    values = {name: of(part, root) for name, part in schema.get("properties", {}).items()}
    optional = (
        {} if schema.get("maxProperties") == len(needed) else {n: v for n, v in values.items() if n not in needed}
    )
    known = st.fixed_dictionaries({name: values[name] for name in needed}, optional=optional)
    more = schema.get("additionalProperties", {})
    if more is False:
        return known
    others = st.dictionaries(TEXTS.filter(lambda name: name not in values), of(more, root), max_size=2)
    return st.builds(lambda one, other: {**other, **one}, known, others)


def _both(one: Json, other: Json) -> Json:
    """What both schemas take, where the other one narrows the first."""
    if "anyOf" in one and "type" in other:
        return next(part for part in one["anyOf"] if part["type"] == other["type"])
    both = {**one, **other}
    if "properties" in one and "properties" in other:
        names = one["properties"] | other["properties"]
        both["properties"] = {
            name: _both(one["properties"].get(name, {}), other["properties"].get(name, {})) for name in names
        }
    if "required" in one and "required" in other:
        both["required"] = [*one["required"], *(name for name in other["required"] if name not in one["required"])]
    return both


def near(value: Any) -> Values:
    """The value with one part of it, at any depth, replaced, left out or added."""
    changes = [ANYTHING]
    if isinstance(value, dict):
        changes.append(st.dictionaries(TEXTS, ANYTHING, min_size=1, max_size=1).map(lambda more: {**value, **more}))
        changes += [_without(value, name) for name in value]
        changes += [_with(value, name) for name in value]
    if isinstance(value, list):
        changes.append(ANYTHING.map(lambda more: [*value, more]))
        changes += [_with(value, number) for number in range(len(value))]
    return st.one_of(changes)


def _without(value: Json, name: str) -> Values:
    return st.just({other: part for other, part in value.items() if other != name})


def _with(value: Any, place: Any) -> Values:
    def put(part: Any) -> Any:
        changed = value.copy()
        changed[place] = part
        return changed

    return near(value[place]).map(put)
