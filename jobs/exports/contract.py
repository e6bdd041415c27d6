"""Data contracts: what an export has to look like (`contracts/*.yaml` of the Feast repository), as frozen models."""

from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from jobs.errors import UsageError

FOLDER = "contracts"
RESERVED = ("created_at", "tombstone")
"""Columns that the platform adds to each table beside the contract's instant."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
"""A name of a file, a table or a column."""
Word = Annotated[str, Field(strict=True)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Kind(StrEnum):
    """What the rows of an export are."""

    SNAPSHOT = "snapshot"
    LABELS = "labels"


class ColumnType(StrEnum):
    """What the values of a column are. In CSV: text, True/False, 12, 29.85, 2024-01-31."""

    STRING = "string"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    DATE = "date"


class Column(_Frozen):
    """What one column may hold; the bounds are inclusive."""

    type: ColumnType
    nullable: bool = False
    min: int | float | date | None = None
    max: int | float | date | None = None
    values: tuple[Word, ...] | None = None
    max_length: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _only_what_fits_the_type(self) -> Self:
        texts = {"values": self.values, "max_length": self.max_length}
        if self.type is not ColumnType.STRING and (given := [key for key, rule in texts.items() if rule is not None]):
            raise ValueError(f"{given[0]} is for columns of type string, not {self.type}")
        for key, bound in (("min", self.min), ("max", self.max)):
            if bound is not None and not self._is_comparable(bound):
                raise ValueError(f"{key} {bound} does not fit a column of type {self.type}")
        return self

    def _is_comparable(self, bound: float | date) -> bool:
        if self.type is ColumnType.DATE:
            return isinstance(bound, date)
        return self.type in (ColumnType.INTEGER, ColumnType.NUMBER) and not isinstance(bound, date)


class Rows(_Frozen):
    """How many rows an export may have: at least `min`, and within the ratios to the month before."""

    min: int = Field(default=1, ge=1)
    min_ratio: float = Field(default=0.0, ge=0)
    max_ratio: float = Field(default=float("inf"), gt=0)


class Contract(_Frozen):
    """What one export has to look like, and the table that it goes to."""

    description: str = ""
    export: Name
    """The file's name without its ending."""
    table: Name
    kind: Kind
    key: tuple[Name, ...] = Field(min_length=1)
    instant: Name
    """The table's column that says which instant a row describes."""
    label: Name | None = None
    """Of kind labels: the column that a model learns to predict."""
    same_keys_as: Name | None = None
    """Another export that has to hold the same keys."""
    rows: Rows = Rows()
    columns: dict[Name, Column] = Field(min_length=1)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        for key in self.key:
            if key not in self.columns:
                raise ValueError(f"key {key} is none of the columns")
            if self.columns[key].nullable:
                raise ValueError(f"key {key} must not be nullable")
        if added := sorted({*RESERVED, self.instant} & set(self.columns)):
            raise ValueError(f"column {added[0]} is added by the platform, an export cannot hold it")
        if (self.kind is Kind.LABELS) != (self.label is not None):
            raise ValueError("label names the label's column of kind labels, and only there")
        if self.label is not None and self.label not in self.columns:
            raise ValueError(f"label {self.label} is none of the columns")
        return self


def load_contracts(repo: Path) -> list[Contract]:
    """The contracts in `repo/contracts/*.yaml`, sorted by export.

    Raises UsageError naming the file and the key that is wrong, also when there is no contract at all.
    """
    files = sorted((repo / FOLDER).glob("*.yaml"))
    if not files:
        raise UsageError(f"{repo / FOLDER} holds no *.yaml; a data contract per export belongs there")
    contracts = {file: _load(file) for file in files}
    _check_each_once(contracts)
    return sorted(contracts.values(), key=lambda contract: contract.export)


def _load(file: Path) -> Contract:
    try:
        content: Any = yaml.safe_load(file.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"{file}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    try:
        return Contract.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{file}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    found = error.errors()[0]
    where = ".".join(str(part) for part in found["loc"])
    message = found["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _check_each_once(contracts: dict[Path, Contract]) -> None:
    for key in ("export", "table"):
        seen: dict[str, Path] = {}
        for file, contract in contracts.items():
            name = getattr(contract, key)
            if name in seen:
                raise UsageError(f"{file}: {key}: {name} is the {key} of {seen[name]} already")
            seen[name] = file
    by_export = {contract.export: contract for contract in contracts.values()}
    for file, contract in contracts.items():
        other = contract.same_keys_as
        if other is not None and (other == contract.export or other not in by_export):
            raise UsageError(f"{file}: same_keys_as: {other} is no other export of this folder")
        if other is not None and by_export[other].key != contract.key:
            raise UsageError(f"{file}: same_keys_as: {other} has the key {', '.join(by_export[other].key)}")
