"""A feature_store.yaml that Feast refuses is refused in one sentence, which quotes no value of it."""

from pathlib import Path

import pytest

from jobs.errors import UsageError
from jobs.feast_store import open_store
from jobs.settings import PREFIX, load_settings

TYPE = "  type: jobs.feast_plugins.online_store.PlatformRedisOnlineStore\n"
CONNECTION = "${FEATURE_PLATFORM_REDIS_CONNECTION_STRING}"


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (TYPE, f'{TYPE}  connection_string: "{CONNECTION}"\n', r"line \d+: expected <block end>"),
        (TYPE, f"{TYPE}  connection_string: [{CONNECTION}]\n", "connection_string: Input should be a valid string"),
        (TYPE, f"  connection_string: {CONNECTION}\n", "connection_string: Extra inputs are not permitted"),
        (TYPE, f"{TYPE}  moon: {CONNECTION}\n", "moon: Extra inputs are not permitted"),
    ],
)
def test_the_reason_names_the_place_and_never_the_password(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str, reason: str
) -> None:
    text = (repository / "feature_store.yaml").read_text()
    assert text.count(before) == 1
    (tmp_path / "feature_store.yaml").write_text(text.replace(before, after))
    monkeypatch.setenv(f"{PREFIX}REPO", str(tmp_path))
    monkeypatch.setenv(f"{PREFIX}REDIS_CONNECTION_STRING", "redis:6379")
    monkeypatch.setenv(f"{PREFIX}REDIS_PASSWORD", "correct-horse")
    with pytest.raises(UsageError, match=f"^{tmp_path}/feature_store.yaml: .*{reason}") as refused:
        open_store(load_settings())
    assert "correct-horse" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__, "nor does a traceback show it"
