"""Reads what a caller sent, and refuses what is not as documented, by one clear sentence."""

import re
from collections.abc import Sequence
from copy import copy
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from api import entity_key, instants
from api.entity_key import JoinKey
from api.problems import InvalidRequest, NotFound, TooLarge, cut
from api.reader import KeyRow
from api.selection import Selection
from api.upload import ALWAYS_READ, UPLOAD, Upload

MAX_ROWS = 1000
MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_FEATURES = 1000
MAX_PARAMETERS = 100
# Parsed, a value may take fifty times what it takes as text; a call needs a thousandth of what fits into a body.
MAX_VALUES = 50_000
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_FEATURES_PARAMETERS = ("feature_service", "features", "metadata", "max_age")
Model = TypeVar("Model", bound=BaseModel)
Names = Annotated[list[str], Field(min_length=1, max_length=MAX_FEATURES)]


class FeaturesQuery:
    """The query of GET /features/{id}; `max_age` in nanoseconds."""

    __slots__ = ("feature_service", "features", "max_age", "max_age_text", "metadata")

    def __init__(self, query: bytes) -> None:
        sent = parameters(query, _FEATURES_PARAMETERS)
        self.feature_service = sent.get("feature_service")
        self.features = sent["features"].split(",") if "features" in sent else None
        if self.features is not None and len(self.features) > MAX_FEATURES:
            raise InvalidRequest(f"features must name at most {MAX_FEATURES} features.")
        self.metadata = sent.get("metadata", "false") == "true"
        self.max_age_text = sent.get("max_age", "")
        self.max_age = instants.duration(self.max_age_text)
        if sent.get("metadata", "true") not in ("true", "false"):
            raise InvalidRequest("metadata must be true or false.")
        if "max_age" in sent and self.max_age is None:
            raise InvalidRequest("max_age must be a whole number and a unit (s, m, h, d or w), such as 45d.")


def parameters(query: bytes, known: Sequence[str] = ()) -> dict[str, str]:
    """The query's parameters, each known, sent once and with a value."""
    if query.count(b"&") >= MAX_PARAMETERS:
        raise InvalidRequest(f"The query string must hold at most {MAX_PARAMETERS} parameters.")
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise InvalidRequest("The query string must be percent-encoded UTF-8.") from None
    sent: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            takes = f"the known ones are {', '.join(known)}" if known else "this call takes none"
            raise InvalidRequest(f"Query parameter {cut(name)!r} is unknown; {takes}.")
        if name in sent or not value:
            raise InvalidRequest(f"{name} must be sent once, with a value.")
        sent[name] = value
    return sent


def last_segment(raw_path: bytes) -> str:
    """All of the path behind the first segment, decoded: an id may hold percent-encoded slashes."""
    segments = raw_path.split(b"/", 2)
    if len(segments) < 3:
        raise NotFound("There is nothing at this path.")
    try:
        return unquote_to_bytes(segments[2]).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest("The path must be percent-encoded UTF-8.") from None


class FeaturesBody(BaseModel):
    """The body of POST /features."""

    model_config = ConfigDict(extra="forbid", strict=True)
    entities: dict[str, list[Any]]
    feature_service: str | None = None
    features: Names | None = None
    metadata: bool = False


class FeastBody(BaseModel):
    """The body of POST /get-online-features. More fields than these are Feast's business and ignored, as Feast does."""

    model_config = ConfigDict(extra="ignore", strict=True)
    entities: dict[str, list[Any]]
    feature_service: str | None = None
    features: Annotated[list[str], Field(max_length=MAX_FEATURES)] = []
    full_feature_names: bool = False
    include_feature_view_version_metadata: bool = False


async def body(scope: Scope, receive: Receive, model: type[Model]) -> Model:
    """The request's JSON body; TooLarge before it is parsed, InvalidRequest for anything but the model."""
    try:
        return model.model_validate(_parsed(await _limited(scope, receive)))
    except orjson.JSONDecodeError:
        raise InvalidRequest("The body must be JSON.") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=True, include_input=False)[0]
        where = ".".join(["body", *(cut(str(part)) for part in first["loc"])])
        raise InvalidRequest(f"{where} {_complaint(first['type'], model)}.") from None


async def _limited(scope: Scope, receive: Receive) -> bytearray:
    limit = f"The body must be at most {MAX_BODY_BYTES} bytes long."
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise TooLarge(limit)
    upload: Upload | None = scope.get(UPLOAD)
    data = bytearray()
    while True:
        message = await receive()
        if upload is not None and upload.refusal is not None:
            raise upload.refusal
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        data += message.get("body", b"")
        if len(data) > MAX_BODY_BYTES:
            raise TooLarge(limit)
        if not message.get("more_body", False):
            return data


def _parsed(data: bytearray) -> Any:
    if len(data) > ALWAYS_READ and _holds_many_values(data):
        raise TooLarge(
            f"One call may ask for at most {MAX_ROWS} entities, and its body may hold at most {MAX_VALUES} values."
        )
    return orjson.loads(data)


def _holds_many_values(data: bytearray) -> bool:
    """Whether it would be more than MAX_VALUES objects, lists and entries; texts may hold commas and brackets too."""
    if _punctuation(data) <= MAX_VALUES:
        return False
    bare, texts = _TEXT.subn(b"", data, MAX_VALUES)
    return texts == MAX_VALUES or _punctuation(bare) > MAX_VALUES


def _punctuation(data: bytes | bytearray) -> int:
    return sum(map(data.count, (b",", b"[", b"{")))


def _complaint(kind: str, model: type[BaseModel]) -> str:
    sentences = {
        "missing": "is missing",
        "extra_forbidden": f"is unknown; the known ones are {', '.join(model.model_fields)}",
        "list_type": "must be a list",
        "dict_type": "must be an object",
        "model_type": "must be an object",
        "string_type": "must be text",
        "bool_type": "must be true or false",
        "too_short": "must not be empty",
        "too_long": f"must hold at most {MAX_FEATURES} entries",
    }
    return sentences.get(kind, "is not as documented")


def key_row(selection: Selection, text: str) -> KeyRow:
    """The one join key of the selection, from the path."""
    if len(selection.join_keys) != 1:
        names = ", ".join(key.name for key in selection.join_keys) or "no join key"
        raise InvalidRequest(f"These features are keyed by {names}: ask for them with POST /features.")
    return {selection.join_keys[0].name: entity_key.parse(selection.join_keys[0], text)}


class Keys:
    """The join keys of the entities that a call names: a list for each key of the selection."""

    __slots__ = ("_names", "columns", "count")

    def __init__(self, selection: Selection, entities: dict[str, list[Any]], as_feast: bool = False) -> None:
        """`as_feast` ignores lists that are no join key and takes numbers for text, as Feast's feature server does."""
        keys = selection.join_keys
        self.count = _count(entities)
        self._names = [key.name for key in keys]
        for name in self._names:
            if name not in entities:
                raise InvalidRequest(f"entities lacks the join key {name}.")
        if not as_feast and len(entities) > len(keys):
            unknown = next(name for name in entities if name not in self._names)
            names = ", ".join(self._names) or "none"
            raise InvalidRequest(f"entities holds {cut(unknown)!r}; the join keys of these features are: {names}.")
        self.columns = [_column(key, entities[key.name], as_feast) for key in keys]

    def part(self, rows: slice) -> "Keys":
        """Some of the entities."""
        if rows.start == 0 and rows.stop >= self.count:
            return self
        some = copy(self)
        some.columns = [column[rows] for column in self.columns]
        some.count = len(range(self.count)[rows])
        return some

    def rows(self) -> list[KeyRow]:
        """One row for each entity."""
        pairs = list(zip(self._names, self.columns, strict=True))
        return [{name: column[row] for name, column in pairs} for row in range(self.count)]


def _column(key: JoinKey, sent: Sequence[Any], as_feast: bool) -> list[str | int]:
    parsed: list[str | int] = []
    try:
        for value in sent:
            parsed.append(entity_key.parse(key, value, as_feast))  # where it fails is told
    except InvalidRequest as error:
        raise InvalidRequest(f"entities.{key.name}[{len(parsed)}]: {error.detail}") from None
    return parsed


def _count(entities: dict[str, list[Any]]) -> int:
    lengths = {len(values) for values in entities.values()} or {1}
    if len(lengths) > 1:
        raise InvalidRequest("The lists in entities must be equally long.")
    count = lengths.pop()
    if count > MAX_ROWS:
        raise TooLarge(f"One call may ask for at most {MAX_ROWS} entities, not {count}.")
    return count
