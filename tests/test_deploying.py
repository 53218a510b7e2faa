"""The files in deploy/ say what the command understands, and name files that there are."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from outcrop.surfaces.cli.app import app

DEPLOY = Path(__file__).parents[1] / "deploy"


def _commands() -> dict[str, list[str]]:
    """The arguments of the server in each file."""
    unit = re.search(r"^ExecStart=\S+/outcrop (.*)$", (DEPLOY / "outcrop.service").read_text(), re.MULTILINE)
    image = re.search(r"^CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    composed = re.search(r"^ *command: (\[.*\])$", (DEPLOY / "compose.yaml").read_text(), re.MULTILINE)
    assert unit is not None
    assert image is not None
    assert composed is not None
    return {"unit": shlex.split(unit[1]), "image": json.loads(image[1]), "compose": json.loads(composed[1])}


@pytest.mark.parametrize("file", ["unit", "image", "compose"])
def test_the_server_is_started_with_options_that_it_has(file: str) -> None:
    command = typer.main.get_command(app)
    arguments = _commands()[file]
    serve = command.commands[arguments[0]]  # type: ignore[attr-defined]

    parsed = serve.make_context("serve", arguments[1:], resilient_parsing=False, parent=command.make_context("outcrop", ["serve"]))

    assert parsed.params["port"] == 7700
    assert str(parsed.params["path"]).endswith("/kb")


def test_the_commands_that_are_shown_are_understood() -> None:
    shown = (DEPLOY / "Dockerfile").read_text() + (DEPLOY.parent / "docs/guides/deploying.md").read_text()
    commands = re.findall(r"outcrop ((?:--db|keys|build|verify|gc) [^`\n]+)", shown)

    assert len(commands) >= 5
    for arguments in commands:
        tried = CliRunner().invoke(app, [*shlex.split(arguments), "--help"])
        assert tried.exit_code == 0, f"outcrop {arguments}: {tried.output}"


def test_the_image_is_made_of_files_that_there_are() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    named = [name for line in copied for name in line.split()]

    assert "pyproject.toml" in named
    assert [name for name in named if not (DEPLOY.parent / name).exists()] == []


def test_who_stops_the_server_waits_longer_than_the_server_does() -> None:
    waits = {
        "unit": re.search(r"^TimeoutStopSec=(\d+)$", (DEPLOY / "outcrop.service").read_text(), re.MULTILINE),
        "compose": re.search(r"stop_grace_period: (\d+)s", (DEPLOY / "compose.yaml").read_text()),
    }
    server = re.search(r"_KILL_SECONDS = (\d+)", (DEPLOY.parent / "src/outcrop/surfaces/http/serving.py").read_text())

    assert server
    assert all(found and int(found[1]) > int(server[1]) for found in waits.values())


@pytest.mark.skipif(shutil.which("nginx") is None or shutil.which("openssl") is None, reason="nginx or openssl is not installed")
def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    made = f"req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout {tmp_path}/key.pem -out {tmp_path}/cert.pem"
    subprocess.run(["openssl", *made.split()], check=True, capture_output=True)
    site = (DEPLOY / "nginx.conf").read_text()
    for kind, name in (("certificate", "cert"), ("certificate_key", "key")):
        site = re.sub(rf"ssl_{kind} .*;", f"ssl_{kind} {tmp_path}/{name}.pem;", site)
    (tmp_path / "site.conf").write_text(site)
    main = f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; include {tmp_path}/site.conf; }}"
    (tmp_path / "main.conf").write_text(main)

    tried = subprocess.run(["nginx", "-t", "-c", f"{tmp_path}/main.conf"], capture_output=True, text=True, check=False)

    assert tried.returncode == 0, tried.stderr
