"""The bundled customers and the generator of monthly exports."""

import gzip
import hashlib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.sample import Export, exports, generate, ids, telco, write_export
from feature_repo.sample.__main__ import main

ORIGINAL_SHA256 = "16320c9c1ec72448db59aa0a26a0b95401046bef5d02fd3aeb906448e3055e91"
COLUMNS = {
    "users": ["user_id", "signup_date", "user_gender", "user_is_senior", "has_family", "has_dependents"],
    "subscriptions": [
        "user_id",
        "months_active",
        "plan_stream_tv",
        "plan_stream_movies",
        "contract_type",
        "paperless_billing",
        "monthly_fee",
        "total_paid",
        "net_service",
    ],
    "usage_agg_30d": [
        "user_id",
        "watch_hours_30d",
        "avg_session_mins_7d",
        "unique_devices_30d",
        "skips_7d",
        "rebuffer_events_7d",
    ],
    "payments_agg_90d": ["user_id", "failed_payments_90d"],
    "support_agg_90d": ["user_id", "support_tickets_90d", "ticket_avg_resolution_hrs_90d"],
    "labels": ["user_id", "churn_label"],
}
Months = dict[datetime, dict[str, pd.DataFrame]]


@pytest.fixture(scope="module")
def month_zero() -> Export:
    return next(generate(months=1))


@pytest.fixture(scope="module")
def six_months() -> Months:
    """Every month as it is known at the end: a correction in the place of what it corrects."""
    return {
        export.as_of: {name: table.to_pandas().set_index("user_id") for name, table in export.tables.items()}
        for export in generate(months=6)
    }


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda: generate(months=0), "months is 0, must be between 1"),
        (lambda: generate(months=1201), "months is 1201, must be between"),
        (lambda: generate(customers=0), "customers is 0, must be between 1"),
        (lambda: generate(customers=100_000_001), "customers is 100000001, must be between"),
        (lambda: generate(start=date(2024, 1, 30)), "start is 2024-01-30, must be the last day of a month"),
        (lambda: generate(start=date(1066, 10, 31)), "start is 1066-10-31, must be within"),
        (lambda: generate(seed=-1), "seed is -1, must not be negative"),
    ],
)
def test_an_argument_out_of_range_is_refused_by_name_and_value(change: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        change()


@pytest.mark.parametrize(
    ("flag", "value", "sentence"),
    [
        ("--months", "0", "months is 0"),
        ("--months", "six", "invalid int value: 'six'"),
        ("--start", "2024-02-30", "'2024-02-30' is not a date"),
        ("--start", "2024-02-28", "must be the last day of a month"),
        ("--customers", "-1", "customers is -1"),
        ("--seed", "-7", "seed is -7"),
        ("--format", "xlsx", "invalid choice: 'xlsx'"),
    ],
)
def test_a_wrong_flag_exits_2_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str, value: str, sentence: str
) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["--output", str(tmp_path / "out"), flag, value])
    assert exited.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_exits_1_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--output", str(tmp_path / "file"), "--months", "1"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(tmp_path / "file") in error


def test_an_unknown_format_is_refused(tmp_path: Path, month_zero: Export) -> None:
    with pytest.raises(ValueError, match="format 'xlsx' is none of csv, parquet"):
        write_export(month_zero, tmp_path, "xlsx")


def test_a_folder_that_states_no_instant_is_refused_by_its_name(tmp_path: Path, month_zero: Export) -> None:
    folder = write_export(month_zero, tmp_path)
    (folder / "DELIVERED_AT").write_text("soon\n")
    with pytest.raises(ValueError, match="DELIVERED_AT: 'soon' is not an instant"):
        exports(tmp_path)


def test_the_bundled_file_is_the_original() -> None:
    assert hashlib.sha256(gzip.decompress(telco.SOURCE.read_bytes())).hexdigest() == ORIGINAL_SHA256
    assert ORIGINAL_SHA256 in telco.SOURCE.with_name("NOTICE").read_text()


def test_month_zero_maps_every_customer_as_stated(month_zero: Export) -> None:
    original = telco.read_telco().to_pandas()
    users, subscriptions, labels = (
        month_zero.tables[name].to_pandas() for name in ("users", "subscriptions", "labels")
    )
    plans = {"Yes": True, "No": False, "No internet service": None}
    for table in month_zero.tables.values():
        assert table.column("user_id").to_pylist() == original.customerID.to_list()
    assert subscriptions.months_active.to_list() == original.tenure.astype(int).to_list()
    assert subscriptions.monthly_fee.to_list() == original.MonthlyCharges.astype(float).to_list()
    assert subscriptions.total_paid.to_list() == pd.to_numeric(original.TotalCharges.str.strip()).fillna(0).to_list()
    assert subscriptions.contract_type.to_list() == original.Contract.to_list()
    assert subscriptions.net_service.to_list() == original.InternetService.to_list()
    assert subscriptions.paperless_billing.to_list() == (original.PaperlessBilling == "Yes").to_list()
    assert subscriptions.plan_stream_tv.to_list() == [plans[plan] for plan in original.StreamingTV]
    assert subscriptions.plan_stream_movies.to_list() == [plans[plan] for plan in original.StreamingMovies]
    assert users.user_gender.to_list() == original.gender.to_list()
    assert users.user_is_senior.to_list() == (original.SeniorCitizen == "1").to_list()
    assert users.has_family.to_list() == (original.Partner == "Yes").to_list()
    assert users.has_dependents.to_list() == (original.Dependents == "Yes").to_list()
    assert labels.churn_label.to_list() == (original.Churn == "Yes").to_list()


def test_1526_customers_without_internet_have_no_streaming_plan(month_zero: Export) -> None:
    subscriptions = month_zero.tables["subscriptions"]
    assert subscriptions.column("plan_stream_tv").null_count == 1526
    assert subscriptions.column("plan_stream_movies").null_count == 1526


def test_the_golden_row_is_written_as_it_is_served(tmp_path: Path, month_zero: Export) -> None:
    lines = (write_export(month_zero, tmp_path) / "subscriptions.csv").read_text().splitlines()
    assert lines[1] == "7590-VHVEG,1,False,False,Month-to-month,True,29.85,29.85,DSL"


def test_every_export_has_just_its_columns(month_zero: Export) -> None:
    assert {name: table.column_names for name, table in month_zero.tables.items()} == COLUMNS


def test_usage_payments_and_tickets_have_the_stated_distributions(month_zero: Export) -> None:
    usage, payments, support, subscriptions = (
        month_zero.tables[name].to_pandas()
        for name in ("usage_agg_30d", "payments_agg_90d", "support_agg_90d", "subscriptions")
    )
    deviation = usage.watch_hours_30d - 20 - 0.15 * subscriptions.monthly_fee
    is_dsl = subscriptions.net_service == "DSL"
    assert abs(deviation.mean()) < 0.3
    assert abs(deviation.std() - 5) < 0.2
    assert set(usage.unique_devices_30d) == {1, 2, 3}
    assert abs(usage.skips_7d.mean() - 5) < 0.15
    assert abs(usage.rebuffer_events_7d[is_dsl].mean() - 3) < 0.15
    assert abs(usage.rebuffer_events_7d[~is_dsl].mean() - 2) < 0.15
    assert abs(payments.failed_payments_90d.mean() - 0.16) < 0.02
    assert abs(support.support_tickets_90d.mean() - 0.3) < 0.03
    assert support.ticket_avg_resolution_hrs_90d.min() >= 1


def test_resolution_hours_are_blank_exactly_without_a_ticket(six_months: Months) -> None:
    for month in six_months.values():
        support = month["support_agg_90d"]
        assert (support.ticket_avg_resolution_hrs_90d.isna() == (support.support_tickets_90d == 0)).all()


def test_a_label_is_true_exactly_on_a_customers_last_month(six_months: Months) -> None:
    months = list(six_months.values())
    for month, following in pairwise(months):
        labels = month["labels"].churn_label
        is_there = labels.index.isin(following["labels"].index)
        assert (labels.to_numpy() == ~is_there).all()


def test_a_customer_who_stays_is_a_month_older_and_has_paid_a_fee_more(six_months: Months) -> None:
    months = [month["subscriptions"] for month in six_months.values()]
    for month, following in pairwise(months):
        both = month.join(following, lsuffix="_before", how="inner")
        assert len(both) > 4000
        assert (both.months_active == both.months_active_before + 1).all()
        paid = both.total_paid - both.total_paid_before
        assert np.isclose(paid, both.monthly_fee, atol=0.005).all()


def test_every_month_has_newcomers_and_about_as_many_customers_as_the_one_before(six_months: Months) -> None:
    months = [month["subscriptions"] for month in six_months.values()]
    for month, following in pairwise(months):
        newcomers = following[~following.index.isin(month.index)]
        assert len(newcomers) > 0
        assert (newcomers.months_active == 0).all()
        assert (newcomers.total_paid == 0).all()
        assert 0.9 < len(following) / len(month) < 1.1


def test_the_signup_date_lies_months_active_months_back_and_never_changes(six_months: Months) -> None:
    first_seen: dict[object, date] = {}
    for as_of, month in six_months.items():
        signup = month["users"].signup_date
        months = pd.to_datetime(signup)
        age = (as_of.year - months.dt.year) * 12 + as_of.month - months.dt.month
        assert (age == month["subscriptions"].months_active).all()
        assert all(first_seen.setdefault(user, day) == day for user, day in signup.items())


def test_all_exports_of_a_month_hold_the_same_customers_once_each(six_months: Months) -> None:
    for month in six_months.values():
        users = month["users"].index
        assert users.is_unique
        assert all(table.index.equals(users) for table in month.values())


def test_money_is_in_whole_cents(six_months: Months) -> None:
    for month in six_months.values():
        for column in ("monthly_fee", "total_paid"):
            assert month["subscriptions"][column].map(lambda value: len(repr(value).split(".")[1]) <= 2).all()


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("one", "7"), ("two", "7"), ("three", "8")):
        assert main(["--output", str(tmp_path / name), "--months", "4", "--customers", "300", "--seed", seed]) == 0
    assert _digest(tmp_path / "one") == _digest(tmp_path / "two")
    usage = "2024-01-31/usage_agg_30d.csv"
    assert _digest(tmp_path / "one")[usage] != _digest(tmp_path / "three")[usage]


def test_more_months_do_not_change_the_earlier_ones() -> None:
    few, many = list(generate(months=3, customers=200)), list(generate(months=5, customers=200))
    for one, other in zip(few, many, strict=False):
        assert one == other


def test_late_months_and_corrections_come_in_order_of_delivery_each_after_what_it_describes() -> None:
    delivered = list(generate(months=12, customers=100))
    delays = {(export.as_of.month, export.correction): export.delivered_at - export.as_of for export in delivered}
    assert [export.delivered_at for export in delivered] == sorted(export.delivered_at for export in delivered)
    assert all(delay > timedelta(0) for delay in delays.values())
    first_deliveries = [delay for (_, correction), delay in delays.items() if correction == 0]
    assert all(delay <= timedelta(days=7) for delay in first_deliveries)
    assert sum(delay > timedelta(days=5) for delay in first_deliveries) == 2
    corrections = [delay for (_, correction), delay in delays.items() if correction == 1]
    assert sorted(delay < timedelta(days=7) for delay in corrections) == [False, False, True, True]


def test_a_correction_mends_usage_and_takes_back_customers_who_had_left() -> None:
    faulty, corrected = (export for export in generate(months=3) if export.as_of.month == 3)
    before, after = (e.tables["usage_agg_30d"].to_pandas().set_index("user_id") for e in (faulty, corrected))
    assert corrected.correction == 1
    assert len(before.index.difference(after.index)) > 0
    assert len(after.index.difference(before.index)) == 0
    both = before.join(after, lsuffix="_before", how="inner")
    assert 50 < (both.watch_hours_30d != both.watch_hours_30d_before).sum() < 500


def test_a_month_without_internet_keeps_its_plans_blank(six_months: Months) -> None:
    for month in six_months.values():
        subscriptions = month["subscriptions"]
        assert (subscriptions.plan_stream_tv.isna() == (subscriptions.net_service == "No")).all()


def test_more_customers_than_bundled_are_like_them_with_ids_of_their_own() -> None:
    export = next(generate(months=1, customers=60_000))
    subscriptions = export.tables["subscriptions"].to_pandas()
    assert subscriptions.user_id.is_unique
    assert len(subscriptions) == 60_000
    assert subscriptions.user_id.str.fullmatch(r"\d{4}-[A-Z]{5}").all()
    assert (
        subscriptions.user_id[: telco.read_telco().num_rows].to_list() == telco.read_telco()["customerID"].to_pylist()
    )
    share = subscriptions.net_service.value_counts(normalize=True)
    assert abs(share["No"] - 1526 / 7043) < 0.01


def test_parquet_and_csv_hold_the_same_values(tmp_path: Path) -> None:
    for export in generate(months=2, customers=50):
        as_csv = write_export(export, tmp_path / "csv")
        as_parquet = write_export(export, tmp_path / "parquet", "parquet")
        for name in COLUMNS:
            read = pd.read_csv(as_csv / f"{name}.csv", keep_default_na=False, na_values=[""])
            stored = pd.read_parquet(as_parquet / f"{name}.parquet")
            assert read.astype(str).replace("nan", "None").equals(stored.astype(str).replace("nan", "None"))


def test_folders_are_named_by_as_of_and_state_as_of_and_delivery(tmp_path: Path) -> None:
    written = list(generate(months=3, customers=30))
    for export in reversed(written):
        write_export(export, tmp_path)
    found = exports(tmp_path)
    assert [folder.path.name for folder in found] == [
        "2024-01-31",
        "2024-02-29",
        "2024-03-31",
        "2024-03-31.correction-1",
    ]
    assert [(folder.as_of, folder.delivered_at) for folder in found] == [(e.as_of, e.delivered_at) for e in written]
    assert found[0].as_of == datetime(2024, 1, 31, tzinfo=UTC)


def test_a_folder_that_is_only_half_written_is_not_found(tmp_path: Path, month_zero: Export) -> None:
    folder = write_export(month_zero, tmp_path)
    (folder / "DELIVERED_AT").unlink()
    assert exports(tmp_path) == []


def test_writing_in_the_other_format_replaces_the_files(tmp_path: Path, month_zero: Export) -> None:
    write_export(month_zero, tmp_path, "csv")
    folder = write_export(month_zero, tmp_path, "parquet")
    assert sorted(file.name for file in folder.iterdir()) == sorted(
        ["AS_OF", "DELIVERED_AT", *(f"{name}.parquet" for name in COLUMNS)]
    )


@given(st.lists(st.integers(0, ids.SPACE - 1), max_size=20))
def test_ids_survive_being_numbers(numbers: list[int]) -> None:
    texts = ids.render(np.array(numbers, dtype=np.int64))
    assert ids.parse(texts.to_numpy(zero_copy_only=False)).tolist() == numbers


@settings(max_examples=25)
@given(seed=st.integers(0, 2**63), counts=st.lists(st.integers(0, 500), max_size=6))
def test_new_ids_never_repeat_and_avoid_those_taken(seed: int, counts: list[int]) -> None:
    would_be_first = ids.IdSource(seed, np.empty(0, dtype=np.int64)).take(100)
    source = ids.IdSource(seed, taken=would_be_first)
    given_out = np.concatenate([would_be_first, *(source.take(count) for count in counts)])
    assert len(np.unique(given_out)) == len(given_out) == 100 + sum(counts)


def _digest(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_ids_are_an_ordinary_string_column() -> None:
    assert ids.render(np.array([0], dtype=np.int64)).equals(pa.array(["0000-AAAAA"]))
