#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The client of the control socket: which socket, who serves there, and answers of all kinds; kick, reload, log-level."""

import json
import os
import socket
import time
import unittest

import ctl
import fake

ALICE, BOB = 4000001, 4000002  # nobody has these numbers


def error(code, message, hint=None):
    return {"error": {"code": code, "message": message, "hint": hint}}


class Fake(ctl.Case):
    def setUp(self):
        super().setUp()
        self.servers = []
        self.addCleanup(lambda: [self.end(server) for server in list(self.servers)])

    def serve(self, answers, path=None):
        server = fake.Server(path or self.socket + ".control", answers)
        self.servers.append(server)
        return server

    def end(self, server):
        self.servers.remove(server)
        server.close()

    def one_line(self, result, *parts):
        text = result.stderr.decode()
        self.assertEqual(text.count("\n"), 1, text)
        for part in parts:
            self.assertIn(part, text)


class WhichSocket(Fake):
    def test_in_this_order(self):
        places = {name: os.path.join(self.folder, name) for name in ["option", "variable", "given.control", "env.control"]}
        for name, path in places.items():
            self.serve({"GET /v1/stats": {"log_level": name}}, path)
        given, env = (os.path.join(self.folder, name) for name in ["given", "env"])
        self.env["PATHBUS_ADDRESS"] = env

        def asked(*options):
            return self.expect(0, *options, "log-level").stdout.decode().strip()
        self.assertEqual(asked(), "env.control")
        self.assertEqual(asked("--address", given), "given.control")
        self.env["PATHBUS_CONTROL"] = places["variable"]
        self.assertEqual(asked("--address", given), "variable")
        self.assertEqual(asked("--address", given, "--control", places["option"]), "option")
        self.env["PATHBUS_CONTROL"] = ""
        self.assertEqual(asked(), "env.control")

    def test_nobody_there(self):
        control = self.socket + ".control"
        self.one_line(self.expect(69, "log-level"), control, "there is no such socket", "pathbusd")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(control)
            self.one_line(self.expect(69, "log-level"), control, "nobody listens", "pathbusd")

    def test_a_daemon_without_one(self):
        self.start_daemon()
        self.env["PATHBUS_CONTROL"] = self.path("none").decode()
        self.one_line(self.expect(69, "log-level"), self.env["PATHBUS_CONTROL"], "a daemon runs", "control = off")

    def test_the_socket_of_the_bus(self):
        self.start_daemon()
        self.one_line(self.expect(1, "--control", self.socket, "log-level"), self.socket, "does not answer as pathbusd")

    def test_paths_that_are_none(self):
        for path in ["", "/" + "x" * 200]:
            self.expect(2, "--control", path, "log-level")
        self.expect(2, "--address", "/" + "x" * 105, "log-level")

    def test_proxies_are_not_asked(self):
        self.env.update(http_proxy="http://127.0.0.1:1", ALL_PROXY="http://127.0.0.1:1")
        self.serve({"GET /v1/stats": {"log_level": "info"}})
        self.assertEqual(self.expect(0, "log-level").stdout, b"info\n")


@unittest.skipUnless(os.geteuid() == 0, "only root can be two users")
class Users(Fake):
    def call_as(self, uid, *words):
        os.chmod(self.folder, 0o755)
        return self.call(*words, user=uid, group=uid, extra_groups=[])

    def test_another_user_is_not_asked(self):
        path = self.socket + ".control"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            os.chmod(path, 0o777)
            os.seteuid(ALICE)  # the kernel notes who begins to listen
            listener.listen()
            os.seteuid(0)
            result = self.call_as(BOB, "log-level")
            self.assertEqual(result.returncode, 77, result)
            self.one_line(result, path, str(ALICE), "nothing was asked")
            server, _ = listener.accept()
            with server:
                self.assertEqual(server.recv(9), b"")
            os.seteuid(ALICE)
            listener.listen()
            os.seteuid(0)
            self.assertEqual(self.call("log-level").returncode, 77)  # not by root either

    def test_a_socket_that_is_not_for_all(self):
        self.serve({"GET /v1/stats": {"log_level": "info"}})
        path = self.socket + ".control"
        os.chmod(path, 0o600)
        result = self.call_as(BOB, "log-level")
        self.assertEqual(result.returncode, 77, result)
        self.one_line(result, path, "control-group")
        os.chmod(path, 0o666)
        self.assertEqual(self.call_as(BOB, "log-level").stdout, b"info\n")  # root serves


class Answers(Fake):
    def test_errors(self):
        path = self.socket + ".control"
        for answer, status, parts in [
                ((403, error("denied", "only root", "ask root")), 77, ["refuses", "only root; ask root"]),
                ((403, {}), 77, ["refuses", "control-group"]),
                ((404, {}), 1, ["older"]),
                ((404, error("not-found", "there is no /v1/stats")), 1, ["older"]),
                ((400, error("bad", "no such level", '{"level": "info"}')), 2, ["says: no such level; see --help\n"]),
                ((503, error("busy", "too many")), 75, ["too many"]),
                ((500, error("internal", "a\x1b[31m\nb\u202e", "c\x07")), 1, [r"a\x1b[31m\x0ab\xe2\x80\xae; c\x07"]),
                ((500, error(1, ["x"], {})), 1, ["no reason"]),
                ((500, b"<html>"), 1, ["500"]),
                ((200, b"[1]"), 1, ["does not answer as pathbusd"]),
                ((200, b"{"), 1, ["does not answer as pathbusd"]),
                ((200, b""), 1, ["does not answer as pathbusd"]),
                ((200, b"[" * 100000), 1, ["does not answer as pathbusd"]),
                ((302, {}), 1, ["302"]),
                (b"SSH-2.0-OpenSSH\r\n", 1, ["does not answer as pathbusd"]),
                (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", 69, ["has gone"]),
                (b"", 69, ["has gone"])]:
            with self.subTest(answer=answer):
                server = self.serve({"GET /v1/stats": answer})
                result = self.expect(status, "log-level")
                self.one_line(result, path, *parts)
                self.assertEqual(result.stdout, b"")
                self.end(server)

    def test_an_answer_without_end(self):
        def endless(handler):
            write = handler.stream()
            while True:
                write(b" " * (1 << 20))
        self.serve({"GET /v1/stats": endless})
        self.one_line(self.expect(1, "log-level"), self.socket, "too large")

    def test_no_answer(self):
        for end in [False, True]:
            with self.subTest(end=end):
                released = []

                def silent(handler):
                    if end:
                        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
                    released.append(handler.rfile.read(1))  # until it goes
                server = self.serve({"GET /v1/stats": silent})
                self.one_line(self.expect(69, "--timeout-ms", "50", "log-level"), self.socket, "within 50 ms", "--timeout-ms")
                ctl.wait_until("it has gone", lambda: released)
                self.end(server)

    def test_a_full_queue(self):
        path = self.socket + ".control"
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
            listener.bind(path)
            listener.listen(0)
            other.connect(path)
            begun = time.monotonic()
            self.one_line(self.expect(69, "--timeout-ms", "200", "log-level"), path, "within 200 ms")
            self.assertGreaterEqual(time.monotonic() - begun, 0.2, "it tries again until then")


class Commands(Fake):
    def test_log_level(self):
        server = self.serve({"GET /v1/stats": {"log_level": "info"}, "POST /v1/log-level": {"level": "debug", "was": "info"}})
        self.assertEqual(self.expect(0, "log-level").stdout, b"info\n")
        self.assertEqual(self.expect(0, "log-level", "debug").stdout, b"")
        method, path, headers, body = server.requests[-1]
        self.assertEqual((method, path, json.loads(body)), ("POST", "/v1/log-level", {"level": "debug"}))
        self.assertEqual(headers["Content-Type"], "application/json")
        self.expect(2, "log-level", b"\xff")
        self.assertEqual(len(server.requests), 2)

    def test_reload(self):
        server = self.serve({"POST /v1/reload": {"changed": ["max-clients", "a\x1b"], "restart_needed": ["address"]}})
        self.assertEqual(self.expect(0, "reload").stdout,
                         b"changed: max-clients, a\\x1b\nchanged only by a restart: address\n")
        server.answers["POST /v1/reload"] = {"changed": [], "restart_needed": []}
        self.assertEqual(self.expect(0, "reload").stdout, b"nothing has changed\n")
        server.answers["POST /v1/reload"] = (409, error("refused", "/etc/pathbusd.conf:3: no such key"))
        self.one_line(self.expect(1, "reload"), "/etc/pathbusd.conf:3: no such key")


class Kick(Fake):
    def setUp(self):
        super().setUp()
        clients = [{"id": 5, "pid": 100, "uid": ALICE, "command": "app\x1b"}, {"id": 6, "pid": 100, "uid": 0, "command": ""},
                   {"id": 100, "pid": 7, "uid": 0}, {"id": 8, "pid": 8, "uid": 0}]

        def page(handler):  # of two
            at = int(handler.path.partition("after=")[2].partition("&")[0] or 0)
            return {"clients": clients[at:at + 2], "next": at + 2 if at + 2 < len(clients) else None}
        self.server = self.serve({"GET /v1/clients": page, **{
            f"POST /v1/clients/{client['id']}/disconnect": {"disconnected": True} for client in clients}})

    def kicked(self):
        posts = [path.split("/")[3] for method, path, _, _ in self.server.requests if method == "POST"]
        self.server.requests.clear()
        return posts

    def test_by_number(self):
        out = self.expect(0, "kick", "5").stdout.decode()
        self.assertEqual(out, f"disconnected client 5: process 100, user {ALICE}, app\\x1b\n")
        self.assertEqual(self.kicked(), ["5"])

    def test_by_process(self):
        self.assertRegex(self.expect(0, "kick", "7").stdout, rb"\Adisconnected client 100: process 7, user \S+\n\Z")
        self.assertEqual(self.kicked(), ["100"])
        self.expect(0, "kick", "8")  # both, but the same
        self.assertEqual(self.kicked(), ["8"])

    def test_what_could_be_both(self):
        self.one_line(self.expect(2, "kick", "100"), "--id", "--pid")
        self.assertEqual(self.kicked(), [])
        self.expect(0, "kick", "--id", "100")
        self.assertEqual(self.kicked(), ["100"])
        self.expect(0, "kick", "--pid", "100")
        self.assertEqual(self.kicked(), ["5", "6"])

    def test_nobody(self):
        self.one_line(self.expect(66, "kick", "9"), "number or the process id 9", "pathbusctl clients")
        self.expect(66, "kick", "--pid", "6")
        self.expect(66, "kick", "--id", "7")
        self.assertEqual(self.kicked(), [])

    def test_nothing_is_sent_twice(self):
        # On a connection that has been used before, and is closed without an answer, HTTP clients try again.
        self.server.answers["POST /v1/clients/5/disconnect"] = b""
        self.one_line(self.expect(69, "kick", "--id", "5"), "has gone")
        self.assertEqual(self.kicked(), ["5"])

    def test_who_has_just_gone(self):
        self.server.answers["POST /v1/clients/5/disconnect"] = (404, error("not-found", "there is no client 5"))
        self.one_line(self.expect(66, "kick", "--id", "5"), "says: there is no client 5")
        self.assertIn(b"client 6", self.call("kick", "--pid", "100").stdout)

    def test_usage(self):
        for words in [["0"], ["-1"], ["x"], ["1", "2"], ["--id", "--pid", "1"], []]:
            self.expect(2, "kick", *words)


if __name__ == "__main__":
    ctl.main()
