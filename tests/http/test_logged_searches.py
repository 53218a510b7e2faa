"""What `outcrop serve` keeps of searches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from outcrop.generations.layout import CollectionFolder
from outcrop.insights.segments import Reading, listed
from outcrop.surfaces.http.serving import Serving


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


def test_the_processes_of_a_server_log_what_is_searched_for(server: Callable[..., httpx.Client], folder: Path) -> None:
    client = server("--processes", "2")
    for number in range(20):
        client.post("/v1/collections/rocks/search", json={"query": f"slate {number}", "where": "hardness < 7"}, headers={"x": "y"})
    client.process.terminate()  # type: ignore[attr-defined]
    client.process.wait(60)  # type: ignore[attr-defined]

    log = CollectionFolder(folder / "rocks").queries
    found = list(Reading(log, 0.0))
    assert {line.query for line in found} == {f"slate {number}" for number in range(20)}
    assert {line.where for line in found} == {"hardness < number"}
    assert b"127.0.0.1" not in b"".join(one.path.read_bytes() for one in listed(log))
