"""A door before a server on this machine: it can be shut, so that connections end at once, or hang, so that nothing is answered."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal

State = Literal["open", "shut", "hanging"]


class Door:
    """Listens on a port of its own, and while it is open passes on what comes to another one.

    What was under way when it began to hang is never answered, as if a cable had been cut.
    """

    def __init__(self) -> None:
        self.behind = 0
        self._state: State = "open"
        self._passed: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def open(self) -> None:
        """Pass on what comes from now on."""
        self._turn("open")

    def shut(self) -> None:
        """End every connection, new ones at once."""
        self._turn("shut")

    def hang(self) -> None:
        """Take connections and requests, and answer nothing."""
        self._turn("hanging")

    def close(self) -> None:
        """Shut it for ever."""
        self.shut()
        self._listening.close()

    def _turn(self, state: State) -> None:
        self._state = state
        if state != "hanging":  # what hung is over: whoever waits learns it now
            for one in list(self._passed):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                come, _ = self._listening.accept()
            except OSError:
                return
            if self._state == "shut":
                come.close()
            else:
                threading.Thread(target=self._pass_on, args=(come,), daemon=True).start()

    def _pass_on(self, come: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.behind))
        except OSError:
            come.close()
            return
        self._passed.update((come, server))
        back = threading.Thread(target=self._copy, args=(server, come), daemon=True)
        back.start()
        self._copy(come, server)
        back.join()
        for one in (come, server):
            self._passed.discard(one)
            one.close()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        """Pass on what one side says, until it ends; nothing any more once it hangs."""
        lost = False
        with suppress(OSError):
            while data := source.recv(1 << 16):
                lost = lost or self._state == "hanging"
                if not lost:
                    target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
