"""Servers on loopback that misbehave on purpose, byte by byte."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

Behaviour = Callable[[socket.socket, bytes], None]
TOKEN = "tok-" + "canary-" + "0a1B2c3D4e5F"  # plainly fake
EMAIL = "canary.person@example.com"


@dataclass
class Server:
    """A raw socket server. url: its base URL; requests: what came in, as bytes."""

    url: str
    requests: list[bytes] = field(default_factory=list)


Misbehave = Callable[..., Server]


def answer(body: bytes | str, status: str = "200 OK", **headers: str) -> Behaviour:
    """Return a behaviour that sends one plain response; keyword `content_type=` gives Content-Type, and so on."""
    content = body.encode() if isinstance(body, str) else body
    fields = {"Content-Type": "application/json", "Content-Length": str(len(content)), "Connection": "close"}
    fields |= {name.replace("_", "-").title(): value for name, value in headers.items()}
    head = f"HTTP/1.1 {status}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
    return lambda connection, _: connection.sendall(head.encode("latin-1") + content)


def read_request(connection: socket.socket) -> bytes:
    """Read one request with its body."""
    seen = b""
    while b"\r\n\r\n" not in seen:
        more = connection.recv(65536)
        if not more:
            return seen
        seen += more
    head, _, body = seen.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length and (more := connection.recv(65536)):
        body, seen = body + more, seen + more
    return seen


def hang(connection: socket.socket, _: bytes = b"") -> None:
    """Answer nothing until the other side gives up, however long that takes."""
    connection.settimeout(600)
    while connection.recv(65536):
        pass


def reset(connection: socket.socket) -> None:
    """Close a connection so that the other side gets a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def misbehaving() -> Iterator[Misbehave]:
    """Yield a function that serves one behaviour on a port of its own until the test ends; context: over TLS."""
    listeners = []

    def start(behaviour: Behaviour, context: ssl.SSLContext | None = None) -> Server:
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        listeners.append(listener)
        base = "https://localhost" if context else "http://127.0.0.1"
        server = Server(f"{base}:{listener.getsockname()[1]}")

        def one(plain: socket.socket) -> None:
            wrapped = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) if context else plain
            with wrapped as connection, suppress(OSError):
                request = read_request(connection)
                server.requests.append(request)
                if request or not context:
                    behaviour(connection, request)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=one, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return server

    yield start
    for listener in listeners:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


class Tunnel:
    """A proxy that connects CONNECT requests to one server, whatever they name."""

    def __init__(self, target: Server, status: str = "200 Connection established") -> None:
        self.target, self.status = target, status

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        """Answer CONNECT, and copy both ways if it is granted."""
        del request
        connection.sendall(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
        if not self.status.startswith("200"):
            return
        with socket.create_connection(("127.0.0.1", int(self.target.url.rpartition(":")[2]))) as onward:
            copy = threading.Thread(target=self._pump, args=(connection, onward), daemon=True)
            copy.start()
            self._pump(onward, connection)
            copy.join()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def in_turn(misbehave: Misbehave, *behaviours: Behaviour) -> Server:
    """Serve the behaviours one after the other, the last one for ever."""
    left = list(behaviours)

    def next_one(connection: socket.socket, request: bytes) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(connection, request)

    return misbehave(next_one)
