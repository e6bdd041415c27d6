"""Data contracts as YAML: what they refuse and what they say."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.errors import UsageError
from jobs.exports.contract import ColumnType, Kind, load_contracts

CONTRACT: dict[str, Any] = {
    "export": "visits",
    "table": "visit_snapshots",
    "kind": "snapshot",
    "key": ["site", "visitor"],
    "instant": "as_of",
    "columns": {
        "site": {"type": "string"},
        "visitor": {"type": "integer"},
        "minutes": {"type": "number", "nullable": True, "min": 0, "max": 1.5},
    },
}


def _repository(folder: Path, *contracts: object) -> Path:
    (folder / "contracts").mkdir()
    for number, contract in enumerate(contracts):
        (folder / "contracts" / f"{number}.yaml").write_text(yaml.safe_dump(contract))
    return folder


def _with(path: str, value: object) -> dict[str, Any]:
    """CONTRACT with the value at a dotted path replaced."""
    changed: dict[str, Any] = yaml.safe_load(yaml.safe_dump(CONTRACT))
    *parents, last = path.split(".")
    place = changed
    for parent in parents:
        place = place[parent]
    place[last] = value
    return changed


def test_a_repository_without_contracts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"contracts holds no \*.yaml"):
        load_contracts(tmp_path)


def test_broken_yaml_is_refused_with_the_file_and_line(tmp_path: Path) -> None:
    (_repository(tmp_path) / "contracts" / "visits.yaml").write_text("export: visits\ntable: [")
    with pytest.raises(UsageError, match=r"visits\.yaml: cannot be read as YAML: .*line 2"):
        load_contracts(tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("tabel", "x", "tabel: Extra inputs are not permitted"),
        ("table", None, "table: Input should be a valid string"),
        ("table", "a; drop table b", "table: String should match pattern"),
        ("export", "../visits", "export: String should match pattern"),
        ("kind", "facts", "kind: Input should be 'snapshot' or 'labels'"),
        ("key", [], "key: Tuple should have at least 1 item"),
        ("key", ["nobody"], "key nobody is none of the columns"),
        ("key", ["minutes"], "key minutes must not be nullable"),
        ("label", "minutes", "label names the label's column of kind labels"),
        ("kind", "labels", "label names the label's column of kind labels"),
        ("rows", {"min": 0}, "rows.min: Input should be greater than or equal to 1"),
        ("columns.site.type", "varchar", "columns.site.type: Input should be 'string', 'boolean'"),
        ("columns.site.min", 1, "columns.site: min 1 does not fit a column of type string"),
        ("columns.minutes.min", "2024-01-01", "columns.minutes"),
        ("columns.minutes.values", ["a"], "columns.minutes: values is for columns of type string, not number"),
        ("columns.site.values", ["Yes", False], "columns.site.values.1: Input should be a valid string"),
        ("columns.site.nullabel", True, "columns.site.nullabel: Extra inputs are not permitted"),
        ("columns.tombstone", {"type": "boolean"}, "column tombstone is added by the platform"),
        ("columns.as_of", {"type": "date"}, "column as_of is added by the platform"),
        ("same_keys_as", "orders", "same_keys_as: orders is no other export"),
        ("same_keys_as", "visits", "same_keys_as: visits is no other export"),
    ],
)
def test_a_mistake_is_refused_with_the_file_and_the_key(
    tmp_path: Path, path: str, value: object, sentence: str
) -> None:
    with pytest.raises(UsageError) as refused:
        load_contracts(_repository(tmp_path, _with(path, value)))
    assert f"{tmp_path / 'contracts' / '0.yaml'}: " in str(refused.value)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"0\.yaml: Input should be a valid dictionary"):
        load_contracts(_repository(tmp_path, ["export", "visits"]))


@pytest.mark.parametrize("key", ["export", "table"])
def test_two_contracts_for_one_export_or_table_are_refused(tmp_path: Path, key: str) -> None:
    other = "table" if key == "export" else "export"
    with pytest.raises(UsageError, match=rf"1\.yaml: {key}: .* is the {key} of .*0\.yaml already"):
        load_contracts(_repository(tmp_path, CONTRACT, _with(other, "another")))


def test_the_same_keys_under_another_name_are_refused(tmp_path: Path) -> None:
    other = _with("export", "orders") | {"table": "orders", "key": ["site"], "same_keys_as": "visits"}
    with pytest.raises(UsageError, match="same_keys_as: visits has the key site, visitor"):
        load_contracts(_repository(tmp_path, CONTRACT, other))


def test_a_contract_of_any_subject_and_several_keys_is_read(tmp_path: Path) -> None:
    (contract,) = load_contracts(_repository(tmp_path, CONTRACT))
    assert contract.key == ("site", "visitor")
    assert contract.columns["minutes"].type is ColumnType.NUMBER
    assert contract.columns["minutes"].nullable
    assert not contract.columns["site"].nullable
    assert contract.rows.min == 1


def test_contracts_cannot_be_changed_once_read(tmp_path: Path) -> None:
    (contract,) = load_contracts(_repository(tmp_path, CONTRACT))
    with pytest.raises(ValueError, match="frozen"):
        contract.table = "another"  # type: ignore[misc]


def test_the_shipped_contracts_name_one_table_of_labels_and_five_of_snapshots(repository: Path) -> None:
    contracts = load_contracts(repository)
    (labels,) = (contract for contract in contracts if contract.kind is Kind.LABELS)
    assert (labels.table, labels.key, labels.instant, labels.label) == (
        "churn_labels",
        ("user_id",),
        "label_at",
        "churn_label",
    )
    assert {contract.export: contract.table for contract in contracts if contract.kind is Kind.SNAPSHOT} == {
        "users": "users_profile_snapshots",
        "subscriptions": "subscriptions_profile_snapshots",
        "usage_agg_30d": "usage_agg_30d_snapshots",
        "payments_agg_90d": "payments_agg_90d_snapshots",
        "support_agg_90d": "support_agg_90d_snapshots",
    }
