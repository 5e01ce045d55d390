# SPDX-License-Identifier: MIT
"""The control socket as its users see it: HTTP over a Unix socket, with the standard library's client."""

import http.client
import json
import socket

import bus


def path_of(daemon):
    """Beside an address that was given."""
    return f"{daemon.address}.control"


class Http(http.client.HTTPConnection):
    """One connection, for several requests."""

    def __init__(self, path):
        super().__init__("localhost", timeout=bus.LIMIT_S)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ask(self, method, target, body=None, headers=None):
        """(status, headers, bytes)"""
        self.request(method, target, body, headers or {})
        answer = self.getresponse()
        return answer.status, answer.headers, answer.read()

    def get(self, target):
        """The object that is answered; anything but 200 fails."""
        status, headers, text = self.ask("GET", target)
        assert status == 200, f"{target}: {status} {text}"
        assert headers["Content-Type"] == "application/json", headers["Content-Type"]
        return json.loads(text)

    def post(self, target, body=None):
        """(status, object)"""
        headers = {} if body is None else {"Content-Type": "application/json"}
        status, _, text = self.ask("POST", target, None if body is None else json.dumps(body), headers)
        return status, json.loads(text)

    def error(self, method, target, body=None, headers=None):
        """(status, code) of what is refused, and that the rest of it is there."""
        status, answered, text = self.ask(method, target, body, headers)
        assert status >= 400 and answered["Content-Type"] == "application/json", (status, text)
        error = json.loads(text)["error"]
        assert set(error) == {"code", "message", "hint"} and error["message"], error
        return status, error["code"]


def raw(path):
    """A plain connection."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(str(path))  # in line with others, if there are any: with a time limit it would fail at once
    connection.settimeout(bus.LIMIT_S)
    return connection
