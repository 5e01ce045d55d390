# SPDX-License-Identifier: MIT
"""A control socket that answers what a test says: for errors and answers that a daemon would not give."""

import json
import os
import socket
import socketserver
import threading
from http.server import BaseHTTPRequestHandler


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """`answers`: {"GET /v1/stats": answer}, without the query; an answer is an object, a (status, object), bytes that are sent
    as they are, or a callable that gets the handler and writes what it likes. `requests` has what came, in order."""

    daemon_threads = True
    request_queue_size = 16

    def __init__(self, path, answers):
        super().__init__(path, Handler)
        self.path = path
        self.answers = answers
        self.requests = []
        self.connections = []
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.shutdown()
        for connection in self.connections:  # threads that still serve come to their end
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.server_close()
        self.thread.join()
        os.unlink(self.path)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        self.server.connections.append(self.request)
        super().setup()

    def handle(self):
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            pass

    def log_message(self, *_):
        pass

    def answer(self):
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size)
        self.server.requests.append((self.command, self.path, dict(self.headers), body))
        answer = self.server.answers.get(f"{self.command} {self.path.split('?')[0]}", (404, {}))
        if callable(answer):
            answer = answer(self)
        if answer is None:
            return
        if isinstance(answer, bytes):
            self.wfile.write(answer)
            self.close_connection = True
            return
        status, value = answer if isinstance(answer, tuple) else (200, answer)
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = answer

    def stream(self):
        """Begins an answer of lines; returns what writes one."""
        self.send_response(200)
        self.send_header("Content-Type", "application/jsonl")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

        def write(value):
            data = value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        return write

    def end_stream(self):
        self.wfile.write(b"0\r\n\r\n")
