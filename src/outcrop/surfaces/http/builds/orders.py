"""What the process of a build is told, as one line of JSON on its standard input."""

from __future__ import annotations

from typing import Any

import msgspec

from outcrop import Config
from outcrop.config import CODE
from outcrop.surfaces.http.builds.states import Build


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A build to run, in which database, and with what configuration.

    `options` and `gate` are as `Collection.build` and `Gate` take them. `path` is the source, an upload's file or one of the
    server's; None: the documents of the active generation. `lock` is the descriptor of `running.lock`, where the system can hand
    one on. `follows` is the span of the request, as `spans.handed_on` has it.
    """

    database: str
    mode: str
    config: dict[str, Any]
    build: Build
    options: dict[str, Any]
    path: str | None
    promote: bool
    gate: dict[str, Any] | None
    is_upload: bool = False
    request_id: str = ""
    follows: dict[str, str] = {}
    lock: int | None = None

    def opened_with(self) -> Config:
        """The configuration that the server's database was opened with; what stands in files and the environment is read anew."""
        made: Config = getattr(Config, self.mode)(**self.config)
        return made


def given_in_code(config: Config) -> dict[str, Any]:
    """What of a configuration neither a file nor the environment says. The server's own table is not for builds."""
    said = (key for key, origin in config.origins if origin == CODE)
    return {key: getattr(config, key) for key in said if key not in ("path", "mode") and "." not in key}
