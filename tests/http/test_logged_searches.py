"""What `outcrop serve` keeps of searches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from litestar.testing import TestClient

import outcrop
from outcrop import Config, Insights
from outcrop.generations.layout import CollectionFolder
from outcrop.insights.segments import Reading, listed
from outcrop.surfaces.http.app import application
from outcrop.surfaces.http.serving import Serving
from outcrop.surfaces.keys import Keys
from tests.http.conftest import Client


def _share(folder: Path, **options: object) -> float:
    with Serving(path=str(folder), host="127.0.0.1", port=1, **options).opened() as db:  # type: ignore[arg-type]
        return db.config.query_log_share


def test_a_server_logs_unless_it_is_told_not_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _share(folder) == _share(folder, mode="mvp_only") == 1.0
    assert _share(folder, query_log=False) == 0.0

    (folder / "outcrop.toml").write_text('mode = "mvp_only"\nquery_log_share = 0.25\n')
    assert _share(folder) == 0.25
    with Serving(path=str(folder), host="127.0.0.1", port=1).opened() as db:
        assert db.mode == "mvp_only"
    monkeypatch.setenv("OUTCROP_QUERY_LOG_SHARE", "0.5")
    assert _share(folder) == 0.5
    assert _share(folder, query_log=False) == 0.0


@pytest.fixture
def logging_client(folder: Path) -> Iterator[Client]:
    """The application on a database that logs."""
    config = Config.mvp_only(background=False, query_log_share=1.0)
    with TestClient(application(lambda: outcrop.open(folder, config=config))) as client:
        yield client


def test_insights_are_told_and_forgotten(logging_client: Client) -> None:
    for query in ("slate", "slate", "basalt"):
        logging_client.get(f"/v1/collections/rocks/search?q={query}")

    found = logging_client.get("/v1/collections/rocks/insights", params={"days": 1})
    assert found.status_code == 200
    told = msgspec.convert(found.json(), Insights)
    assert (told.searches, told.cached, told.zero_results) == (3, 1, 1)
    assert logging_client.delete("/v1/collections/rocks/insights").status_code == 204
    assert logging_client.get("/v1/collections/rocks/insights").json()["searches"] == 0


def test_a_search_that_is_not_to_be_logged_is_counted_and_not_logged(logging_client: Client, folder: Path) -> None:
    headers = {"authorization": f"Bearer {Keys(folder).create('reader', 'read')}"}
    search = "/v1/collections/rocks/search"
    for unlogged in ({"query": "private", "log": False}, {"query": "private", "log": False, "mode": "lexical", "cache": False}):
        assert logging_client.post(search, json=unlogged, headers=headers).json()["query"] == "private"
    assert logging_client.get(f"{search}?q=private&log=false", headers=headers).status_code == 200
    batch = {"queries": ["private", "private"]}
    assert logging_client.post(f"{search}/batch", json={**batch, "log": False}, headers=headers).status_code == 200
    for logged in ({"query": "slate"}, {"query": "slate", "log": True}):
        logging_client.post(search, json=logged, headers=headers)
    logging_client.post(f"{search}/batch", json=batch, headers=headers)
    assert logging_client.post(search, json={"query": "slate", "log": "no"}, headers=headers).status_code == 400

    boss = {"authorization": f"Bearer {Keys(folder).create('boss', 'admin')}"}
    told = logging_client.get("/v1/collections/rocks/insights", headers=boss).json()
    assert (told["searches"], {one["query"] for one in told["frequent"]}) == (4, {"slate", "private"})
    text = logging_client.get("/metrics", headers=boss).text
    counts = [line for line in text.splitlines() if line.startswith("outcrop_search_duration_seconds_count")]
    assert sum(float(line.split()[-1]) for line in counts) == 9


@pytest.mark.parametrize("days", ["0", "-1", "nan", "many", "1e9"])
def test_days_that_are_none_are_refused(logging_client: Client, days: str) -> None:
    refused = logging_client.get(f"/v1/collections/rocks/insights?days={days}")

    assert refused.status_code == 400
    assert "days" in refused.json()["detail"]


def test_what_others_asked_is_for_admins(logging_client: Client, folder: Path) -> None:
    keys = Keys(folder)
    for scope, status in (("read", 403), ("write", 403), ("admin", 200)):
        headers = {"authorization": f"Bearer {keys.create(scope, scope)}"}  # type: ignore[arg-type]
        assert logging_client.get("/v1/collections/rocks/insights", headers=headers).status_code == status


def test_the_processes_of_a_server_log_what_is_searched_for(server: Callable[..., httpx.Client], folder: Path) -> None:
    client = server("--readers", "1")
    client.post("/v1/collections/rocks/search", json={"query": "private", "log": False})
    for number in range(20):
        client.post("/v1/collections/rocks/search", json={"query": f"slate {number}", "where": "hardness < 7"}, headers={"x": "y"})
    client.process.terminate()  # type: ignore[attr-defined]
    client.process.wait(60)  # type: ignore[attr-defined]

    log = CollectionFolder(folder / "rocks").queries
    found = list(Reading(log, 0.0))
    assert {line.query for line in found} == {f"slate {number}" for number in range(20)}
    assert {line.where for line in found} == {"hardness < number"}
    assert b"127.0.0.1" not in b"".join(one.path.read_bytes() for one in listed(log))


def test_what_is_logged_is_counted_for_prometheus(logging_client: Client) -> None:
    for query in ("slate", "granite"):
        logging_client.get(f"/v1/collections/rocks/search?q={query}")
    logging_client.get("/v1/collections/rocks/insights")  # which has what waits written

    text = logging_client.get("/metrics").text
    assert 'outcrop_query_log_lines_total{collection="rocks",outcome="logged"} 2.0' in text
    assert 'outcrop_query_log_lines_total{collection="rocks",outcome="lost"} 0.0' in text
    assert 'outcrop_query_log_size_bytes{collection="rocks"}' in text
