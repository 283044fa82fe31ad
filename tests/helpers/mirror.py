"""A server on this machine that plays the mirrors: it serves, drops, refuses, lies, and counts what it sent."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Mirror(ThreadingHTTPServer):
    """Attributes:
    files: content by path; `queue` holds what happens instead, one entry per request: a function of the handler.
    sent: bytes of bodies; requests: (path, headers) as they came.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.queue, self.requests, self.sent = {}, {}, [], 0
        self.ranges, self.etags, self.delay = True, True, 0.0
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def server_close(self):
        """Ends the thread first: it would poll the closed socket for ever, and take a core from all later tests."""
        self.shutdown()
        super().server_close()

    def handle_error(self, *_):
        """Clients may hang up."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def serve(self, path, content, *instead):
        self.files[path] = content
        self.queue[path] = list(instead)
        return f"{self.url}{path}"

    def header(self, name, request=-1):
        return self.requests[request][1].get(name)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.partition("?")[0]
        self.server.requests.append((self.path, dict(self.headers)))
        waiting = self.server.queue.get(path)
        if waiting:
            return waiting.pop(0)(self)
        if path not in self.server.files:
            return self.send_error(404)
        return self.answer(self.server.files[path])

    def answer(self, content, upto=None):
        """The file, or what the range asks for; `upto` bytes of it, then a drop."""
        tag = f'"{hash(content)}"'
        start = 0
        asked = self.headers.get("Range")
        if asked and self.server.ranges and self.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.server.etags:
            self.send_header("ETag", tag)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        return self.body(content[start:upto])

    def body(self, content):
        for begin in range(0, len(content), 1 << 16):
            piece = content[begin : begin + (1 << 16)]
            self.server.sent += len(piece)  # before the client can have it
            self.wfile.write(piece)
            time.sleep(self.server.delay)

    def log_message(self, *_):
        pass


def drop(after):
    """Sends so many bytes of the file and closes."""
    return lambda handler: handler.answer(handler.server.files[handler.path.partition("?")[0]], upto=after)


def status(code, page=b"", **headers):
    def answer(handler):
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Type", "text/html; charset=utf-8")
        handler.send_header("Content-Length", str(len(page)))
        handler.end_headers()
        handler.body(page)

    return answer


def silence(seconds):
    """Takes the request and says nothing for a while."""
    return lambda _: time.sleep(seconds)
