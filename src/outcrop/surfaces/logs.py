"""What a server writes to its log: a line for each thing that happened, as JSON for programs or as text for people.

Lines are formed where something happens and written by a thread of their own. So a pipe that nobody empties holds up nobody: what
does not fit in the queue is dropped, and a line says how much.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import sleep
from typing import Literal

import msgspec

Format = Literal["json", "text"]
LOGGERS = ("outcrop", "_granian", "opentelemetry", "py.warnings")
_FORMAT_VARIABLE = "_OUTCROP_LOG_FORMAT"  # for the processes that this one starts
_QUEUED_LINES_MAX = 10_000
_WRITE_BYTES_MAX = 4096  # so much is written to a pipe in one piece: lines of several processes are never mixed
_GATHERED_SECONDS = 0.05  # a thread that wakes up for each line takes the interpreter from those who answer
_WAITED_SECONDS_MAX = 2.0
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_OF_EVERY_RECORD = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"))
_encode = msgspec.json.Encoder(enc_hook=str).encode


def begin(form: Format) -> None:
    """Have this process write what Outcrop and its web server log to the standard error, from level INFO on. Once is enough."""
    os.environ[_FORMAT_VARIABLE] = form
    lines = QueuedLines(_descriptor(), as_json if form == "json" else as_text)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        for other in list(logger.handlers):
            logger.removeHandler(other)
        logger.addHandler(lines)
        logger.propagate = False
    logging.getLogger("outcrop").setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    atexit.register(lines.close)


def log_from(level: str) -> None:
    """Log what is at least as grave, from now on."""
    logging.getLogger("outcrop").setLevel(level.upper())


def begin_as(environ: Mapping[str, str]) -> None:
    """Write the log as the server does that started this process, if one did."""
    form = environ.get(_FORMAT_VARIABLE)
    if form is not None:
        begin("json" if form == "json" else "text")


def as_json(record: logging.LogRecord) -> bytes:
    r"""A record as a line of JSON: time (UTC), level, logger, message, and whatever it was logged with besides.

    >>> as_json(logging.makeLogRecord({"created": 0, "levelname": "INFO", "name": "outcrop", "msg": "hi", "event": "started"}))
    b'{"time":"1970-01-01T00:00:00.000Z","level":"info","logger":"outcrop","message":"hi","event":"started"}\n'
    """
    fields = {
        "time": _time(record),
        "level": record.levelname.lower(),
        "logger": record.name.removeprefix("_"),
        "message": record.getMessage(),
    }
    fields |= {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD and name not in fields}
    if record.exc_info:
        fields["exception"] = _exceptions.formatException(record.exc_info)
    return _encode(fields) + b"\n"


def as_text(record: logging.LogRecord) -> bytes:
    """A record as a line for people, and below it where an exception came from."""
    about = getattr(record, "request_id", None)
    message = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", record.getMessage())
    told = f"{_time(record)} {record.levelname.lower():<8}{message}{'' if about is None else f' [{about}]'}"
    if record.exc_info:
        told = f"{told}\n{_exceptions.formatException(record.exc_info)}"
    return told.encode(errors="backslashreplace") + b"\n"


class QueuedLines(logging.Handler):
    """Writes lines to a file descriptor, from a thread of its own, which begins with the first one."""

    def __init__(self, descriptor: int, form: Callable[[logging.LogRecord], bytes], *, queued_max: int = _QUEUED_LINES_MAX) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._form = form
        self._queued_max = queued_max
        self._waiting: SimpleQueue[bytes | None] = SimpleQueue()
        self._begin_lock = Lock()
        self._thread: Thread | None = None
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; or drop it, when too many wait."""
        if self._waiting.qsize() >= self._queued_max:
            self._dropped += 1
            return
        try:
            line = self._form(record)
        except Exception:  # noqa: BLE001 - as every handler of the standard library does
            self.handleError(record)
            return
        self._waiting.put(line)
        if self._thread is None:
            self._start()

    def close(self) -> None:
        """Write what waits, unless that takes too long."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join(_WAITED_SECONDS_MAX)
        super().close()

    def _start(self) -> None:
        with self._begin_lock:
            if self._thread is None:
                self._thread = Thread(target=self._write_all, name="outcrop-log", daemon=True)
                self._thread.start()

    def _write_all(self) -> None:
        ended = False
        while not ended:
            lines = [self._waiting.get()]
            if lines[0] is not None:
                sleep(_GATHERED_SECONDS)
            with suppress(Empty):
                while True:
                    lines.append(self._waiting.get_nowait())
            ended = None in lines
            self._write_together([line for line in lines if line is not None])
            if self._dropped:
                self._tell_dropped()

    def _write_together(self, lines: list[bytes]) -> None:
        """Write as many at a time as a pipe takes in one piece."""
        pieces: list[bytes] = []
        size = 0
        for line in lines:
            if pieces and size + len(line) > _WRITE_BYTES_MAX:
                self._write(b"".join(pieces))
                pieces, size = [], 0
            pieces.append(line)
            size += len(line)
        self._write(b"".join(pieces))

    def _tell_dropped(self) -> None:
        count, self._dropped = self._dropped, 0
        said = f"{count} lines of this log were dropped: whoever reads it was too slow"
        self._write(self._form(_record(said, {"event": "log_lines_dropped", "count": count})))

    def _write(self, line: bytes) -> None:
        left = memoryview(line)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:  # nobody reads the log any more; that is no reason to stop serving
            return


def _record(message: str, values: dict[str, object]) -> logging.LogRecord:
    about = {"msg": message, "name": "outcrop", "levelno": logging.WARNING, "levelname": "WARNING"}
    return logging.makeLogRecord(about | values)


_exceptions = logging.Formatter()


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _descriptor() -> int:
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # a test's own, perhaps
        return 2
