"""`outcrop keys`, and what `outcrop serve` refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from outcrop.surfaces.keys import Keys
from tests.cli.conftest import Cli


def test_a_key_is_made_listed_and_revoked(cli: Cli, rocks: Path) -> None:
    made = cli("keys", "create", "website", "--scope", "write", "--collection", "rocks")
    assert made.exit_code == 0
    holder = Keys(rocks).holder(made.stdout.strip())
    assert holder is not None
    assert (holder.name, holder.scope, holder.collections) == ("website", "write", ("rocks",))

    listed = json.loads(cli("keys", "list", "--json").stdout)
    assert [one["name"] for one in listed] == ["website"]
    assert "sha256" not in listed[0]
    assert "website" in cli("keys", "list").stdout
    assert cli("keys", "revoke", "website").exit_code == 0
    assert cli("keys", "list").stdout == "No keys.\n"
    assert cli("keys", "revoke", "website").exit_code == 4


@pytest.mark.usefixtures("rocks")
def test_other_machines_are_let_in_with_keys_only(cli: Cli) -> None:
    refused = cli("serve", "--host", "0.0.0.0")

    assert refused.exit_code == 2
    assert "outcrop keys create" in refused.stderr


@pytest.mark.usefixtures("rocks")
def test_a_certificate_needs_its_key(cli: Cli) -> None:
    refused = cli("serve", "--certificate", "server.pem")

    assert refused.exit_code == 2
    assert "go together" in refused.stderr


@pytest.mark.usefixtures("rocks")
def test_a_folder_of_sources_must_be_one(cli: Cli, tmp_path: Path) -> None:
    refused = cli("serve", "--source-folder", str(tmp_path / "nowhere"))

    assert refused.exit_code == 2
    assert "no folder" in refused.stderr
