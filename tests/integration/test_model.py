"""A model learns from a training set what holds in a later month, which shuffled joins would not allow."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from feature_repo.sample import generate, write_export
from jobs import ingest, postgres, training_set
from jobs.local.servers import PostgresServer
from tests.conftest import REPOSITORY
from tests.databases import clone
from tests.integration.training_support import applied_template

MONTHS = 6
CLEARLY_ABOVE_CHANCE = 0.65
CHANCE = (0.4, 0.6)
KEYS = ["user_id", "event_timestamp"]
LABEL = "churn_label"


@pytest.fixture(scope="module")
def months(
    postgres_server: PostgresServer, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[pd.DataFrame]:
    """The training set of all the sample's months, built by the jobs."""
    folder = tmp_path_factory.mktemp("model")
    with (
        applied_template(postgres_server, migrated_template, REPOSITORY / "feature_repo") as template,
        pytest.MonkeyPatch.context() as monkeypatch,
        clone(postgres_server, template, monkeypatch),
    ):
        monkeypatch.setenv("FEATURE_PLATFORM_REPO", str(REPOSITORY / "feature_repo"))
        monkeypatch.setenv("FEATURE_PLATFORM_PROJECT", "streamflow")
        monkeypatch.setenv("FEATURE_PLATFORM_REDIS_CONNECTION_STRING", "127.0.0.1:1")
        _ingest_sample(folder / "exports")
        with postgres.connect("test", autocommit=True) as connection:
            connection.execute("ANALYZE")
        assert training_set.main(["--output", str(folder / "set")]) == 0
        yield pd.read_parquet(folder / "set" / "training_df.parquet")


def test_a_model_trained_on_earlier_months_ranks_the_leavers_of_the_last_clearly_above_chance(
    months: pd.DataFrame,
) -> None:
    assert months["event_timestamp"].nunique() == MONTHS - 1
    assert _auc(*_split(months)) > CLEARLY_ABOVE_CHANCE


def test_features_of_another_customer_teach_nothing(months: pd.DataFrame) -> None:
    # What the test above would see if the join mixed customers up.
    earlier, last = _split(months)
    order = np.random.default_rng(3).permutation(len(last))
    mixed = pd.concat([last.drop(columns=LABEL).iloc[order].reset_index(drop=True), last[[LABEL]]], axis=1)
    low, high = CHANCE
    assert low < _auc(earlier, mixed) < high


def test_a_whole_companys_rows_are_in_key_order(months: pd.DataFrame) -> None:
    # At this size Postgres hashes its groups, so an order that nobody asked for would not come by itself.
    keys = [(user.encode(), at) for user, at in months[KEYS].itertuples(index=False)]
    assert keys == sorted(set(keys))


def _ingest_sample(folder: Path) -> None:
    for export in generate(months=MONTHS):
        written = write_export(export, folder, "parquet")
        flags = ["--as-of", export.as_of.isoformat(), "--delivered-at", export.delivered_at.isoformat()]
        assert ingest.main([*flags, str(written)]) == 0


def _split(months: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    last = months["event_timestamp"].max()
    is_last = months["event_timestamp"] == last
    return months[~is_last].reset_index(drop=True), months[is_last].reset_index(drop=True)


def _auc(train: pd.DataFrame, test: pd.DataFrame) -> float:
    model = HistGradientBoostingClassifier(max_iter=60, random_state=0)
    model.fit(_inputs(train), train[LABEL].astype(bool))
    return float(roc_auc_score(test[LABEL].astype(bool), model.predict_proba(_inputs(test))[:, 1]))


def _inputs(frame: pd.DataFrame) -> pd.DataFrame:
    features = frame.drop(columns=[*KEYS, LABEL])
    words = features.select_dtypes("object").columns
    codes = {name: pd.Categorical(features[name].astype("string")).codes for name in words}
    return features.assign(**codes).astype(float)
