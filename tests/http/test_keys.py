"""Who may ask the server what."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from outcrop.errors import Damaged, InvalidInput, NotFound
from outcrop.surfaces.keys import Keys
from tests.http.conftest import Client, until_ready

_SEARCH = ("POST", "/v1/collections/rocks/search", {"query": "slate"})
_WRITE = ("POST", "/v1/collections/rocks/documents", {"documents": [{"id": "x", "text": "x"}]})
_MAKE = ("POST", "/v1/collections", {"name": "ores", "embedder": "none"})
_PROMOTE = ("POST", "/v1/collections/rocks/generations/1/promote", {})


def _status(client: Client, call: tuple[str, str, object], key: str | None) -> int:
    method, address, body = call
    return client.request(method, address, json=body, headers={} if key is None else {"authorization": f"Bearer {key}"}).status_code


def test_without_keys_everybody_is_let_in(client: Client) -> None:
    assert _status(client, _SEARCH, None) == 200


def test_as_soon_as_there_is_a_key_one_is_wanted(client: Client, folder: Path) -> None:
    key = Keys(folder).create("website", "read")

    refused = client.post(_SEARCH[1], json=_SEARCH[2])
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert _status(client, _SEARCH, key) == 200
    assert _status(client, _SEARCH, f"{key}x") == 401
    assert client.get("/livez").status_code == 200
    until_ready(client)
    assert client.get("/health").status_code == 401


@pytest.mark.parametrize(
    ("scope", "wanted"), [("read", [200, 403, 403, 403]), ("write", [200, 200, 403, 403]), ("admin", [200, 200, 201, 200])]
)
def test_a_scope_says_how_far_a_key_goes(client: Client, folder: Path, scope: str, wanted: list[int]) -> None:
    key = Keys(folder).create("one", scope)  # type: ignore[arg-type]

    assert [_status(client, call, key) for call in (_SEARCH, _WRITE, _MAKE, _PROMOTE)] == wanted


def test_a_key_of_a_collection_opens_no_other_one(client: Client, folder: Path) -> None:
    admin = Keys(folder).create("all", "admin")
    assert _status(client, _MAKE, admin) == 201
    key = Keys(folder).create("ores", "admin", ("ores",))

    assert _status(client, _SEARCH, key) == 403
    assert _status(client, ("POST", "/v1/collections", {"name": "gems"}), key) == 403
    assert client.get("/v1/collections", headers={"authorization": f"Bearer {key}"}).json() == {"collections": ["ores"]}
    assert client.get("/v1/collections/ores", headers={"authorization": f"Bearer {key}"}).status_code == 200


def test_a_revoked_key_opens_nothing_also_if_it_was_the_last(client: Client, folder: Path) -> None:
    key = Keys(folder).create("website", "read")
    assert _status(client, _SEARCH, key) == 200

    Keys(folder).revoke("website")

    assert _status(client, _SEARCH, key) == 401
    assert _status(client, _SEARCH, None) == 401


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", "Basic b2M=", "Bearer oc", "Bearer oc__", "Bearer oc_1_\u00e9", "bearer x" * 99]
)
def test_what_is_no_key_is_refused(client: Client, folder: Path, given: str) -> None:
    Keys(folder).create("website", "read")

    assert client.post(_SEARCH[1], json=_SEARCH[2], headers={"authorization": given.encode()}).status_code == 401


def test_the_file_tells_no_key_and_only_its_owner_may_read_it(folder: Path) -> None:
    key = Keys(folder).create("website", "read")
    path = folder / "keys.json"

    assert key.rpartition("_")[2] not in path.read_text()
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_damaged_file_opens_nothing(client: Client, folder: Path) -> None:
    (folder / "keys.json").write_text("[{")

    assert _status(client, _SEARCH, None) == 401
    assert _status(client, _SEARCH, "oc_1_x") == 500
    with pytest.raises(Damaged, match="create the keys anew"):
        Keys(folder).all()


def test_a_name_is_there_once(folder: Path) -> None:
    keys = Keys(folder)
    keys.create("website", "read")

    with pytest.raises(InvalidInput, match="already"):
        keys.create("website", "write")
    with pytest.raises(InvalidInput, match="1 to 100"):
        keys.create(" ", "write")
    with pytest.raises(NotFound, match="website"):
        keys.revoke("webside")


def test_the_command_starts_with_keys_that_come_while_it_runs(server: Callable[..., httpx.Client], folder: Path) -> None:
    client = server()
    assert client.request(*_SEARCH[:2], json=_SEARCH[2]).status_code == 200
    key = Keys(folder).create("website", "read")
    assert client.request(*_SEARCH[:2], json=_SEARCH[2]).status_code == 401
    assert client.request(*_SEARCH[:2], json=_SEARCH[2], headers={"authorization": f"Bearer {key}"}).status_code == 200
