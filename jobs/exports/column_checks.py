"""Checks one column of an export against its rule and gives it the rule's type; nothing is guessed or coerced."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.exports.contract import Column, ColumnType
from jobs.exports.violations import Violations, shown

Place = Callable[[int, str | None], str]
"""Names a row (from 0) and a column as the file's reader sees them."""
Array = npt.NDArray[Any]

ARROW_TYPES = {
    ColumnType.STRING: pa.string(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.NUMBER: pa.float64(),
    ColumnType.DATE: pa.date32(),
}
EXPECTED = {
    ColumnType.STRING: "text",
    ColumnType.BOOLEAN: "True or False",
    ColumnType.INTEGER: "a whole number",
    ColumnType.NUMBER: "a number",
    ColumnType.DATE: "a date like 2024-01-31",
}
# What text is taken for a value; 18 digits always fit 64 bits.
PATTERNS = {
    ColumnType.BOOLEAN: r"^(?i:true|false)$",
    ColumnType.INTEGER: r"^[+-]?[0-9]{1,18}$",
    ColumnType.NUMBER: r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$",
    ColumnType.DATE: r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
}
KEY_SEPARATOR = "\x1f"  # no text value may hold control characters, so joined keys stay apart


def checked(raw: pa.ChunkedArray, name: str, rule: Column, place: Place, violations: Violations) -> pa.Array | None:
    """The column with the rule's type, or None when it does not keep the rule; what is wrong goes to `violations`."""
    before = len(violations)
    values = _typed(_plain(raw), name, rule.type, place, violations)
    if values is None:
        return None
    for wrong, problem in _broken_rules(values, rule):
        _report(wrong, values, problem, name, place, violations)
    return values if len(violations) == before else None


def check_keys(table: pa.Table, key: Sequence[str], place: Place, violations: Violations) -> bool:
    """Whether no two rows have the same key."""
    codes = joined_keys(table, key).dictionary_encode().indices.to_numpy()
    first = np.zeros(len(codes), dtype=bool)
    first[np.unique(codes, return_index=True)[1]] = True
    if first.all():
        return True
    row = int(np.argmin(first))
    value = ", ".join(shown(table.column(name)[row].as_py()) for name in key)
    earlier = place(int(np.argmax(codes == codes[row])), None)
    violations.add(place(row, ", ".join(key)), f"{value} is there before, at {earlier}", int((~first).sum()))
    return False


def joined_keys(table: pa.Table, key: Sequence[str]) -> pa.Array:
    """One text per row that is equal exactly where the keys are."""
    return pc.binary_join_element_wise(
        *(pc.cast(table.column(name).combine_chunks(), pa.string()) for name in key), KEY_SEPARATOR
    )


def _plain(raw: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_dictionary(raw.type):
        raw = raw.cast(raw.type.value_type)
    return raw.combine_chunks()


def _typed(raw: pa.Array, name: str, kind: ColumnType, place: Place, violations: Violations) -> pa.Array | None:
    target = ARROW_TYPES[kind]
    is_text = pa.types.is_string(raw.type) or pa.types.is_large_string(raw.type)
    if is_text and kind is not ColumnType.STRING:
        return _parsed(raw, name, kind, place, violations)
    numeric = pa.types.is_integer(raw.type) or (kind is ColumnType.NUMBER and pa.types.is_floating(raw.type))
    fits = raw.type == target or is_text or pa.types.is_null(raw.type)
    if not fits and not (numeric and kind in (ColumnType.INTEGER, ColumnType.NUMBER)):
        violations.add(f"{place(0, name)}", f"has the type {raw.type}, not {EXPECTED[kind]}")
        return None
    try:
        return raw.cast(target)
    except pa.ArrowInvalid as error:
        violations.add(f"{place(0, name)}", f"does not fit {target}: {' '.join(str(error).split())}")
        return None


def _parsed(raw: pa.Array, name: str, kind: ColumnType, place: Place, violations: Violations) -> pa.Array | None:
    looks_right = pc.match_substring_regex(raw, PATTERNS[kind])
    candidates = pc.if_else(looks_right, raw, None)
    if kind is ColumnType.DATE:
        values = pc.strptime(candidates, format="%Y-%m-%d", unit="s", error_is_null=True).cast(pa.date32())
    elif kind is ColumnType.BOOLEAN:
        values = pc.equal(pc.utf8_lower(candidates), "true")
    else:
        values = pc.utf8_ltrim(candidates, "+").cast(ARROW_TYPES[kind])
    wrong = _mask(pc.and_(pc.is_valid(raw), pc.is_null(values)))
    _report(wrong, raw, f"is not {EXPECTED[kind]}", name, place, violations)
    return None if wrong.any() else values


def _broken_rules(values: pa.Array, rule: Column) -> list[tuple[Array, str]]:
    """For every rule: which values break it, and how to say so."""
    broken = []
    if not rule.nullable:
        broken.append((_mask(pc.is_null(values)), "is blank, which this column must not be"))
    if rule.type is ColumnType.STRING:
        broken.append((_mask(pc.match_substring_regex(values, "[[:cntrl:]]")), "holds a control character"))
        broken.append((_mask(pc.match_substring_regex(values, r"^\s|\s$")), "starts or ends with white space"))
    if rule.type is ColumnType.NUMBER:
        broken.append((_mask(pc.invert(pc.is_finite(values))), "is not finite"))
    if rule.min is not None:
        broken.append((_mask(pc.less(values, pa.scalar(rule.min, values.type))), f"is less than {rule.min}"))
    if rule.max is not None:
        broken.append((_mask(pc.greater(values, pa.scalar(rule.max, values.type))), f"is more than {rule.max}"))
    if rule.values is not None:
        known = pc.is_in(values, pa.array(rule.values))
        broken.append((_mask(pc.and_(pc.is_valid(values), pc.invert(known))), f"is none of {', '.join(rule.values)}"))
    if rule.max_length is not None:
        broken.append(
            (_mask(pc.greater(pc.utf8_length(values), rule.max_length)), f"has over {rule.max_length} characters")
        )
    return broken


def _report(wrong: Array, values: pa.Array, problem: str, name: str, place: Place, violations: Violations) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        value = values[row].as_py()
        said = problem if value is None else f"{shown(value)} {problem}"
        violations.add(place(row, name), said, int(wrong.sum()))


def _mask(condition: pa.Array) -> Array:
    mask: Array = pc.fill_null(condition, False).to_numpy(zero_copy_only=False)
    return mask
