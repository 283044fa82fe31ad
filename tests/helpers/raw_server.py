"""A server on this machine that answers byte for byte, whether that is HTTP or not."""

import socket
import threading
from contextlib import suppress


class RawServer:
    """Attributes:
    answer: what every request gets: bytes, or a function that sends as it likes until the client hangs up.
    requests: what came, up to the empty line.
    sent: bytes that `answer` was sent as, where it is bytes.
    """

    def __init__(self, answer=b""):
        self.answer, self.requests, self.sent = answer, [], 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self):
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client):
        with client, suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                part = client.recv(65536)
                if not part:  # the client has hung up, and this would be asked for ever
                    return
                request += part
            self.requests.append(request)
            answer = self.answer
            if callable(answer):
                answer(client)
            else:
                client.sendall(answer)
                self.sent += len(answer)
            client.shutdown(socket.SHUT_WR)


def for_ever(begin, piece, pause=0.0):
    """Sends a beginning, then a piece again and again, until the client hangs up."""
    wait = threading.Event()

    def answer(client):
        client.sendall(begin)
        while not wait.wait(pause):
            client.sendall(piece)

    return answer


def answer_of(body, *headers, status="200 OK"):
    """An answer of HTTP with these header lines."""
    lines = [f"HTTP/1.1 {status}".encode(), *(line if isinstance(line, bytes) else line.encode() for line in headers)]
    return b"\r\n".join([*lines, b"", body])
