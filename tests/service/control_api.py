#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/control-api.json is true: it has each route of the daemon with its parameters, and real answers are as it says."""

import json
import os
import pathlib
import re
import struct

import api
import bus
import endpoints
import regions
import schema

SOURCE = pathlib.Path(__file__).parents[2]
DOCUMENT = json.loads((SOURCE / "docs/control-api.json").read_text(encoding="utf-8"))
ROUTE = re.compile(r'^\t\{ "(GET|POST)", "([^"]+)", \w+, "([^"]*)", "([^"]*)", (true|false) \},$', re.MULTILINE)


def operations():
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def operation_of(method, path):
    return DOCUMENT["paths"][path][method.lower()]


def content_of(operation, status="200"):
    (kind, content), = operation["responses"][status]["content"].items()
    return kind, content.get("schema")


# --- the file ---------------------------------------------------------------------------------------------------------


def test_all_routes_are_in_it_and_no_others():
    routes = {}
    text = (SOURCE / "daemon/control/routes.c").read_text(encoding="ascii")
    for method, path, query, body, is_open in ROUTE.findall(text):
        routes[method, path] = set(query.split()), set(body.split()), is_open == "true"
    assert len(routes) == text.count("\t{ \"") and len(routes) > 8, "the table looks otherwise"
    described = {}
    for method, path, operation in operations():
        parameters = {"query": set(), "path": set()}
        for parameter in operation.get("parameters", []):
            parameters[parameter["in"]].add(parameter["name"])
        assert parameters["path"] == set(re.findall(r"\{(\w+)\}", path)), path
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        described[method, path] = parameters["query"], set(body.get("properties", {})), operation.get("x-open", False)
    assert routes == described, f"{set(routes) ^ set(described)} or their parameters"


def test_all_codes_of_errors_are_in_it_and_no_others():
    used = set()
    for path in (SOURCE / "daemon/control").glob("*.c"):
        used |= set(re.findall(r'control_reply_error\([^"{]*"([a-z-]+)"|"code\\":\\"([a-z-]+)', path.read_text(encoding="ascii")))
    described = DOCUMENT["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["enum"]
    assert {one or other for one, other in used} == set(described), used


def test_it_is_whole():
    """As far as the standard says what has to be there."""
    assert DOCUMENT["openapi"].startswith("3.0.") and DOCUMENT["info"]["title"] and DOCUMENT["info"]["version"]
    for method, path, operation in operations():
        assert operation["summary"], path
        assert set(operation["responses"]) == {"200", "default"}, (method, path)
        assert content_of(operation, "default") == ("application/json", {"$ref": "#/components/schemas/Error"})
        assert all(answer["description"] for answer in operation["responses"].values()), path
        for parameter in operation.get("parameters", []):
            assert parameter["in"] == "query" or parameter["required"], path
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))
    assert references == set(DOCUMENT["components"]["schemas"]), references ^ set(DOCUMENT["components"]["schemas"])


def test_the_checker_finds_what_is_wrong():
    checker = schema.Schemas({"components": {"schemas": {
        "Pair": {"type": "object", "required": ["a"], "additionalProperties": False, "properties": {
            "a": {"type": "integer", "minimum": 0, "maximum": 9}, "b": {"type": "string", "nullable": True, "enum": ["x"]}}}}}})
    pairs = {"type": "array", "items": {"$ref": "#/components/schemas/Pair"}}
    for right in ([], [{"a": 0}], [{"a": 9, "b": "x"}, {"a": 1, "b": None}]):
        checker.check(right, pairs)
    for wrong in ({}, None, [None], [{}], [{"a": "1"}], [{"a": True}], [{"a": 1.5}], [{"a": -1}], [{"a": 10}], [{"a": None}],
                  [{"a": 1, "b": "y"}], [{"a": 1, "c": 1}], [{"a": 1}, 7]):
        try:
            checker.check(wrong, pairs)
        except schema.Wrong:
            continue
        raise AssertionError(f"{wrong} was taken")
    assert list(checker.unmet(pairs, "$")) == []


# --- answers ----------------------------------------------------------------------------------------------------------


class Checked:
    """Asks, and holds each answer against the file."""

    def __init__(self, http):
        self.http = http
        self.checker = schema.Schemas(DOCUMENT)
        self.asked = set()

    def ask(self, method, path, target=None, body=None):
        operation = operation_of(method, path)
        if body is not None:
            self.checker.check(body, operation["requestBody"]["content"]["application/json"]["schema"], "the body")
        headers = {} if body is None else {"Content-Type": "application/json"}
        status, answered, text = self.http.ask(method, target or path, None if body is None else json.dumps(body), headers)
        kind, wanted = content_of(operation, "200" if status == 200 else "default")
        assert answered["Content-Type"] == kind, (target or path, answered["Content-Type"])
        value = json.loads(text)
        self.checker.check(value, wanted, f"{method} {target or path}")
        if status == 200:
            self.asked.add((method, path))
        return status, value

    def get(self, path, target=None):
        status, value = self.ask("GET", path, target)
        assert status == 200, (target or path, value)
        return value


def ask(connection, kind, body=b""):
    """Events that come before the answer are passed over."""
    connection.send(bus.frame(kind, connection.request(), body))
    while True:
        answer = connection.receive()
        assert answer is not None, "the connection ended"
        if answer.request == connection.last_request:
            return answer.kind


def fill(daemon, connection, frames):
    """One topic with everything."""
    path = daemon.folder / "all"
    path.touch()
    os.link(path, daemon.folder / "another-name")
    topic, number = connection.open(path), frames.open_socket(path)
    raw = connection.open(os.fsencode(daemon.folder) + b"/\xff\xfe")
    frames.open_socket(daemon.folder / "another-name")
    connection.open_socket(path)
    memory = [regions.make(topic, name) for name in (b"memory", b"more memory")]
    for name in (b"another", b"service"):
        endpoints.listen(connection, topic.id, name)
    endpoints.send_connect(frames, number, b"nobody", bus.NO_TIMEOUT)
    assert ask(frames, bus.SET_STATE, struct.pack("<IIQQ", number, 0, 0, (1 << 64) - 1)) == bus.DONE
    frames.send(bus.frame(bus.PUBLISH, 0, struct.pack("<IIQ", number, 0, 0) + b"data"))
    frames.send(bus.frame(bus.FRAME_POST, 0, struct.pack("<I", number)))
    assert ask(frames, bus.PING) == bus.PONG
    return path, topic, memory, raw


def test_answers():
    configuration = pathlib.Path(bus.new_folder()) / "conf"
    configuration.write_text("[limits]\nmax-user-syncs = 7\n[rights]\nsubscribe = /nowhere/** : root\n", encoding="ascii")
    with bus.daemon("--config", str(configuration)) as daemon, api.Http(api.path_of(daemon)) as http, \
            api.Http(api.path_of(daemon)) as watching:
        checked = Checked(http)
        watching.request("GET", "/v1/events?posts=1")
        events = watching.getresponse()
        checked.get("/healthz")
        with daemon.connect() as connection, daemon.connect() as frames:
            path, topic, memory, raw = fill(daemon, connection, frames)
            look_at_topics(checked, path, daemon)
            clients = checked.get("/v1/clients")["clients"]
            assert [client["socket_only"] for client in clients] == [True, True] and clients[0]["pid"] == os.getpid(), clients
            assert clients[0]["requests"] >= 5 and clients[0]["command"].startswith("python"), clients
            look_at_stats(checked)
            look_at_config(checked, configuration)
            act(checked, path, clients, configuration)
            number = checked.get("/v1/topics")["topics"][1]["id"]
            assert checked.ask("POST", "/v1/topics/{id}/forget", f"/v1/topics/{number}/forget") == (200, {"forgotten": True})
            for region in memory:
                region.close()
            topic.page.close()
            raw.page.close()
        refuse(checked)
        look_at_events(checked, events)
        look_at_all(checked)


def look_at_topics(checked, path, daemon):
    topics = checked.get("/v1/topics")["topics"]
    assert [topic["path"] for topic in topics] == [str(path.parent / "another-name"), f"{daemon.folder}/\ufffd\ufffd"], topics
    assert bytes.fromhex(topics[1]["path_bytes"]) == os.fsencode(daemon.folder) + b"/\xff\xfe"
    whole = topics[0]
    assert (whole["names"], whole["members"], whole["lanes"], whole["regions"], whole["endpoints"]) == (2, 4, 1, 2, 2), whole
    assert (whole["posts"], whole["messages"]) == (1, 1), whole
    detail = checked.get("/v1/topics/{id}", f"/v1/topics/{whole['id']}")
    assert {name: detail[name] for name in whole} == whole
    assert detail["state"] == {"value": (1 << 64) - 1, "version": 1}, detail["state"]
    assert sorted(detail["all_names"]) == [str(path), str(path.parent / "another-name")], detail["all_names"]
    assert [member["transport"] for member in detail["member_list"]] == ["socket", "socket", "socket", "memory"]
    assert sum(member["posts"] for member in detail["member_list"]) == 1, detail["member_list"]
    assert sum(member["messages"] for member in detail["member_list"]) == 1, detail["member_list"]
    assert detail["region_list"][0]["name"] == "memory" and detail["region_list"][0]["holders"][0]["pid"] == os.getpid()
    assert detail["endpoint_list"][0]["name"] == "service", detail["endpoint_list"]
    checked.get("/v1/topics/{id}", f"/v1/topics/{topics[1]['id']}")
    page = checked.get("/v1/topics/{id}", f"/v1/topics/{whole['id']}?limit=1")
    assert page["members_next"] == page["member_list"][0]["id"] and len(page["member_list"]) == 1
    assert page["lanes_next"] is None or page["lanes_next"] == page["lane_list"][0]["id"]
    assert checked.get("/v1/topics", "/v1/topics?limit=1")["next"] == whole["id"]
    checked.get("/v1/clients", "/v1/clients?limit=1")


def look_at_config(checked, configuration):
    config = checked.get("/v1/config")
    assert config["files"] == [str(configuration)] and not config["cut"], config
    key = next(key for key in config["keys"] if key["key"] == "max-user-syncs")
    assert (key["section"], key["value"], key["from"]) == ("limits", "7", f"{configuration}:2"), key
    assert config["rights"] == [{"key": "subscribe", "value": "/nowhere/** : root", "from": f"{configuration}:4"}], config["rights"]


def look_at_stats(checked):
    stats = checked.get("/v1/stats")
    assert stats["totals"]["topics"] == 2 and stats["instance"] == "user" and stats["counts"]["messages"] == 1, stats
    assert [user["uid"] for user in stats["users"]] == [os.geteuid()], stats["users"]


def act(checked, path, clients, configuration):
    number = checked.get("/v1/topics")["topics"][0]["id"]
    before = checked.get("/v1/topics")["topics"][0]["posts"]
    assert checked.ask("POST", "/v1/topics/{id}/post", f"/v1/topics/{number}/post") == (200, {"posted": True, "topic": number})
    assert checked.ask("POST", "/v1/post", body={"path": str(path)}) == (200, {"posted": True, "topic": number})
    assert checked.get("/v1/topics")["topics"][0]["posts"] == before + 2
    assert checked.ask("POST", "/v1/log-level", body={"level": "debug"}) == (200, {"level": "debug", "was": "info"})
    rules = configuration.read_text(encoding="ascii").split("[rights]")[1]  # which stay: else members may have to come back
    configuration.write_text(f"[limits]\nmax-user-syncs = 8\n[daemon]\nuser = daemon\n[rights]{rules}", encoding="ascii")
    status, answer = checked.ask("POST", "/v1/reload")
    assert (status, answer["changed"], answer["restart_needed"]) == (200, ["max-user-syncs"], ["user"]), answer
    assert checked.get("/v1/config")["restart_needed"] == ["user"]
    configuration.write_text("[limits]\nnonsense\n", encoding="ascii")
    status, answer = checked.ask("POST", "/v1/reload")
    assert (status, answer["error"]["code"]) == (409, "not-reloaded") and f"{configuration}:2" in answer["error"]["message"], answer
    gone = clients[-1]["id"]
    assert checked.ask("POST", "/v1/clients/{id}/disconnect", f"/v1/clients/{gone}/disconnect")[0] == 200
    bus.wait_for(lambda: gone not in [client["id"] for client in checked.get("/v1/clients")["clients"]], "it is gone")


def look_at_events(checked, events):
    """All that this test has done, to the last thing in the log. What kinds there are besides is for the events' own test."""
    kind, wanted = content_of(operation_of("GET", "/v1/events"))
    assert events.status == 200 and events.headers["Content-Type"] == kind
    # A topic may end a while after its last member has gone.
    missing = {"client-connected", "client-gone", "topic-opened", "topic-closed", "member-joined", "member-left", "post", "message",
               "region", "endpoint", "log", "reload"}
    is_last = False
    while missing or not is_last:
        event = json.loads(events.readline())
        checked.checker.check(event, wanted, f"an event {event}")
        missing.discard(event["kind"])
        is_last |= event["kind"] == "log" and "log's level is error" in event["text"]


def refuse(checked):
    for method, path, target, body in (
            ("GET", "/v1/topics", "/v1/topics?limit=0", None), ("GET", "/v1/topics", "/v1/topics?limit=1001", None),
            ("GET", "/v1/topics", "/v1/topics?limit=x", None), ("GET", "/v1/topics", "/v1/topics?limit=-1", None),
            ("GET", "/v1/topics", "/v1/topics?after=99999999999999999999", None),
            ("GET", "/v1/topics", "/v1/topics?path=relative", None), ("GET", "/v1/topics", "/v1/topics?none=1", None),
            ("POST", "/v1/log-level", None, {"level": "error"}), ("POST", "/v1/log-level", None, None),
            ("GET", "/v1/topics/{id}", "/v1/topics/0", None), ("GET", "/v1/topics/{id}", "/v1/topics/9223372036854775807", None),
            ("POST", "/v1/topics/{id}/post", "/v1/topics/4711/post", None), ("POST", "/v1/post", None, {"path": "/nowhere"}),
            ("POST", "/v1/post", None, {"path": "relative"}), ("POST", "/v1/clients/{id}/disconnect", "/v1/clients/0/disconnect", None)):
        status, _ = checked.ask(method, path, target, body)
        assert status in (400, 404) or body == {"level": "error"}, (target or path, status)


def look_at_all(checked):
    """Nothing that is described has gone unseen."""
    described = {(method, path) for method, path, operation in operations() if content_of(operation)[0] == "application/json"}
    assert checked.asked == described, described ^ checked.asked
    missing = []
    for method, path, operation in operations():
        if content_of(operation)[0] == "application/json":
            missing += checked.checker.unmet(content_of(operation)[1], f"{method} {path}")
    # What other tests look at: there is no [topic] section here, and no second user.
    missing = [name for name in missing if not re.search(r"\.(topic_sections.*|value_bytes|pattern_bytes|address_bytes|lanes_next|users_next)$", name)]
    assert missing == [], missing


if __name__ == "__main__":
    bus.main()
