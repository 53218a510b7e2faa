"""An S3 store on this machine, for the tests of tables that lie in one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from tests.engines.door import Door

VARIABLES = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": "never-to-be-shown",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_SERVER = """
import sys, time
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=int(sys.argv[1]), verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


class Store:
    """A store behind a door. It can be stopped, and begun again at the same address: what it held is gone then."""

    def __init__(self) -> None:
        self.door = Door()
        self.bucket = f"tables-{uuid4().hex[:8]}"  # a process keeps its client of a bucket, address included
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def uri(self) -> str:
        """Where tables are put in it."""
        return f"s3://{self.bucket}/search"

    @property
    def address(self) -> str:
        """Where it is for whoever goes by the door."""
        return f"http://127.0.0.1:{self.door.port}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(self.door.behind)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.door.behind = int(self._process.stdout.readline())
        self.client().create_bucket(Bucket=self.bucket)

    def stop(self) -> None:
        if self._process is not None:
            self._process.communicate("")
            self._process = None

    def client(self) -> Any:
        """A client that goes past the door."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.door.behind}",
            region_name="us-east-1",
            aws_access_key_id=VARIABLES["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=VARIABLES["AWS_SECRET_ACCESS_KEY"],
        )

    def held(self) -> list[str]:
        """The names of all that it holds."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]


def skip_unless_possible() -> None:
    for name in ("lancedb", "moto", "flask", "flask_cors", "boto3"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


@contextmanager
def running_store() -> Iterator[Store]:
    """A store, and an environment that says where it is and with whose rights."""
    skip_unless_possible()
    store = Store()
    before = dict(os.environ)
    os.environ.update(VARIABLES | {"AWS_ENDPOINT_URL": store.address})
    try:
        yield store
    finally:
        os.environ.clear()
        os.environ.update(before)
        store.door.close()
        store.stop()
