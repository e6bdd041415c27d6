"""Monthly exports: what a population looks like as the company's files, written to folders and found again."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from feature_repo.sample import ids
from feature_repo.sample.telco import CONTRACTS, GENDERS, NET_SERVICES, Array, Population

FORMATS = ("csv", "parquet")


@dataclass(frozen=True)
class Export:
    """One delivery of a month's files; `tables` by export name, columns as the exports have them."""

    as_of: datetime
    delivered_at: datetime
    correction: int
    """0 for the first delivery of a month, then 1, 2, ..."""
    tables: Mapping[str, pa.Table]

    @property
    def folder(self) -> str:
        """The name of its folder, like 2024-03-31 or 2024-03-31.correction-1."""
        return f"{self.as_of:%Y-%m-%d}" + (f".correction-{self.correction}" if self.correction else "")


@dataclass(frozen=True)
class ExportFolder:
    """A folder of export files and what its files AS_OF and DELIVERED_AT state."""

    path: Path
    as_of: datetime
    delivered_at: datetime


def as_tables(population: Population, as_of: datetime) -> dict[str, pa.Table]:
    """The six exports of a population as it is at `as_of`."""
    user_id = ids.render(population["id"])
    tickets = population["tickets"].sum(axis=1)
    columns: dict[str, dict[str, object]] = {
        "users": {
            "signup_date": _signup_dates(population, as_of),
            "user_gender": _words(population["gender"], GENDERS),
            "user_is_senior": population["senior"],
            "has_family": population["family"],
            "has_dependents": population["dependents"],
        },
        "subscriptions": {
            "months_active": population["months"],
            "plan_stream_tv": _plan(population["stream_tv"]),
            "plan_stream_movies": _plan(population["stream_movies"]),
            "contract_type": _words(population["contract"], CONTRACTS),
            "paperless_billing": population["paperless"],
            "monthly_fee": population["fee"] / 100,
            "total_paid": population["paid"] / 100,
            "net_service": _words(population["net"], NET_SERVICES),
        },
        "usage_agg_30d": {
            "watch_hours_30d": population["watch"].round(2),
            "avg_session_mins_7d": population["session"].round(1),
            "unique_devices_30d": population["devices"],
            "skips_7d": population["skips"],
            "rebuffer_events_7d": population["rebuffers"],
        },
        "payments_agg_90d": {"failed_payments_90d": population["failed"].sum(axis=1)},
        "support_agg_90d": {
            "support_tickets_90d": tickets,
            "ticket_avg_resolution_hrs_90d": pa.array(population["resolution"].round(1), mask=tickets == 0),
        },
        "labels": {"churn_label": population["left"]},
    }
    return {name: pa.table({"user_id": user_id, **values}) for name, values in columns.items()}


def write_export(export: Export, directory: Path, file_format: str = "csv") -> Path:
    """Write an export to its folder under `directory` and return the folder; what it held of that export is replaced.

    AS_OF and DELIVERED_AT are written last: a folder that holds both is complete. Raises ValueError for another format.
    """
    if file_format not in FORMATS:
        raise ValueError(f"format {file_format!r} is none of {', '.join(FORMATS)}")
    folder = directory / export.folder
    folder.mkdir(parents=True, exist_ok=True)
    for statement in ("AS_OF", "DELIVERED_AT"):
        (folder / statement).unlink(missing_ok=True)
    for name, table in export.tables.items():
        for other in FORMATS:
            (folder / f"{name}.{other}").unlink(missing_ok=True)
        _write_table(table, folder / f"{name}.{file_format}")
    for statement, instant in (("AS_OF", export.as_of), ("DELIVERED_AT", export.delivered_at)):
        partial = folder / f".{statement}"
        partial.write_text(f"{instant:%Y-%m-%dT%H:%M:%SZ}\n")
        partial.replace(folder / statement)
    return folder


def exports(directory: Path) -> list[ExportFolder]:
    """The complete export folders under `directory`, in order of (delivered_at, as_of).

    Raises ValueError naming the file when AS_OF or DELIVERED_AT holds no instant.
    """
    folders = [path.parent for path in directory.glob("*/AS_OF") if path.with_name("DELIVERED_AT").is_file()]
    found = [ExportFolder(path, _stated(path / "AS_OF"), _stated(path / "DELIVERED_AT")) for path in folders]
    return sorted(found, key=lambda export: (export.delivered_at, export.as_of))


def _stated(file: Path) -> datetime:
    text = file.read_text().strip()
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{file}: {text!r} is not an instant like 2024-01-31T00:00:00Z") from error
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _write_table(table: pa.Table, file: Path) -> None:
    if file.suffix == ".parquet":
        parquet.write_table(table, file)
        return
    for place, field in enumerate(table.schema):
        if pa.types.is_boolean(field.type):
            table = table.set_column(place, field.name, pc.if_else(table.column(place), "True", "False"))
    csv.write_csv(table, file, csv.WriteOptions(quoting_style="none", quoting_header="none"))


def _signup_dates(population: Population, as_of: datetime) -> Array:
    """The day the customer joined: months_active calendar months before as_of's."""
    month = np.datetime64(as_of.strftime("%Y-%m"), "M") - population["months"]
    dates: Array = month.astype("datetime64[D]") + population["signup_day"]
    return dates


def _words(codes: Array, words: tuple[str, ...]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(words)).cast(pa.string())


def _plan(codes: Array) -> pa.Array:
    return pa.array(codes == 1, mask=codes < 0)
