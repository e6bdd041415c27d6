"""Month 0: IBM's Telco customers (telco_customer_churn.csv.gz; origin and licence in NOTICE) as a population."""

import io
from gzip import GzipFile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from feature_repo.sample import ids

Array = npt.NDArray[Any]
Population = dict[str, Array]
"""Equally long columns, one element per customer. Money is in cents; -1 in a plan means that it does not apply."""

SOURCE = Path(__file__).with_name("telco_customer_churn.csv.gz")
CONTRACTS = ("Month-to-month", "One year", "Two year")
NET_SERVICES = ("DSL", "Fiber optic", "No")
GENDERS = ("Female", "Male")


def read_telco() -> pa.Table:
    """The bundled file as it is, every value as text, 7,043 rows."""
    with SOURCE.open("rb") as packed, GzipFile(fileobj=packed) as unpacked:
        text = io.BytesIO(unpacked.read())
    header = text.readline().decode().strip().split(",")
    text.seek(0)
    return csv.read_csv(text, convert_options=csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string())))


def attributes() -> Population:
    """What the bundled file says of each customer: who they are, what they subscribe to, and whether they left."""
    telco = read_telco()

    def is_yes(column: str) -> Array:
        return _numpy(pc.equal(telco[column], "Yes"))

    return {
        "id": ids.parse(_numpy(telco["customerID"])),
        "gender": _codes(telco["gender"], GENDERS),
        "senior": _numpy(pc.equal(telco["SeniorCitizen"], "1")),
        "family": is_yes("Partner"),
        "dependents": is_yes("Dependents"),
        "months": _numpy(pc.cast(telco["tenure"], pa.int64())),
        "stream_tv": _plan(telco["StreamingTV"]),
        "stream_movies": _plan(telco["StreamingMovies"]),
        "contract": _codes(telco["Contract"], CONTRACTS),
        "paperless": is_yes("PaperlessBilling"),
        "fee": _cents(telco["MonthlyCharges"]),
        "paid": _cents(telco["TotalCharges"]),
        "net": _codes(telco["InternetService"], NET_SERVICES),
        "left": is_yes("Churn"),
    }


def _codes(column: pa.ChunkedArray, words: tuple[str, ...]) -> Array:
    return _numpy(pc.index_in(column, value_set=pa.array(words))).astype(np.int8)


def _plan(column: pa.ChunkedArray) -> Array:
    """1 yes, 0 no, -1 does not apply (no internet service): a blank in the exports, never False."""
    plans: Array = np.array([0, 1, -1], dtype=np.int8)[_codes(column, ("No", "Yes", "No internet service"))]
    return plans


def _cents(column: pa.ChunkedArray) -> Array:
    """Whole cents. The file leaves the total of a customer's first month blank: nothing was paid yet."""
    amount = pc.utf8_trim_whitespace(column)
    amount = pc.if_else(pc.equal(amount, ""), "0", amount)
    cents: Array = np.rint(_numpy(pc.cast(amount, pa.float64())) * 100).astype(np.int64)
    return cents


def _numpy(column: pa.ChunkedArray) -> Array:
    values: Array = column.combine_chunks().to_numpy(zero_copy_only=False)
    return values
