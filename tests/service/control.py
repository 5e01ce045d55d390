#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The control socket: where it is, who may use it, what it answers."""

import errno
import os
import stat
import struct

import api
import bus
import users
from users import ALICE, BOB, MALLORY, SERVICE, SHARED_GROUP, run_as


def error_as(path, method, target):
    with api.Http(path) as http:
        return http.error(method, target)


def get_as(path, target):
    with api.Http(path) as http:
        return http.get(target)


# --- where it is ------------------------------------------------------------------------------------------------------


def test_it_is_beside_the_other():
    daemon = bus.Daemon()
    path = api.path_of(daemon)
    state = os.stat(path)
    assert stat.S_ISSOCK(state.st_mode) and stat.S_IMODE(state.st_mode) == 0o600, oct(state.st_mode)
    with api.Http(path) as http:
        assert http.get("/healthz") == {"status": "ok"}
        assert http.get("/healthz") == {"status": "ok"}, "the connection stays"
    daemon.stop()
    assert not os.path.exists(path) and not os.path.exists(f"{path}.lock")


def test_another_place_and_none():
    folder = bus.new_folder()
    with bus.daemon("--control", f"{folder}/here") as daemon:
        assert get_as(f"{folder}/here", "/healthz") == {"status": "ok"}
        assert not os.path.exists(api.path_of(daemon))
    assert os.listdir(folder) == []
    with bus.daemon("--control", "off") as daemon:
        assert not os.path.exists(api.path_of(daemon))


def test_a_stale_one_is_replaced_and_a_file_is_not():
    daemon = bus.Daemon()
    path = api.path_of(daemon)
    daemon.kill()
    assert os.path.exists(path)
    with bus.daemon(folder=daemon.folder) as successor:
        assert get_as(api.path_of(successor), "/healthz") == {"status": "ok"}
    with open(path, "w", encoding="ascii") as file:
        file.write("mine")
    refused = bus.Daemon(folder=daemon.folder, wait=False)
    assert refused.wait() == 1
    assert "is no socket" in refused.said() and "--control" in refused.said(), refused.said()
    with open(path, encoding="ascii") as file:
        assert file.read() == "mine"


def test_two_do_not_share_one():
    with bus.daemon() as daemon:
        other = bus.Daemon("--control", api.path_of(daemon), wait=False)
        assert other.wait() == 3
        assert f"pid {daemon.pid}" in other.said() and "--control" in other.said(), other.said()
        assert get_as(api.path_of(daemon), "/healthz") == {"status": "ok"}


# --- who may ----------------------------------------------------------------------------------------------------------


def test_who_may_use_that_of_all_users():
    with users.system(witness=False) as (serving, _):
        path = api.path_of(serving)
        state = os.stat(path)
        assert (state.st_uid, stat.S_IMODE(state.st_mode)) == (SERVICE.uid, 0o600)
        assert get_as(path, "/healthz") == {"status": "ok"}
        assert run_as(SERVICE, get_as, path, "/healthz") == {"status": "ok"}
        for person in (ALICE, MALLORY):
            assert run_as(person, cannot_connect, path)


def cannot_connect(path):
    try:
        api.raw(path)
    except PermissionError:
        return True
    return False


def test_a_group_may_use_it():
    with users.system("--control-group", str(SHARED_GROUP), witness=False) as (serving, _):
        path = api.path_of(serving)
        state = os.stat(path)
        assert (state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode)) == (SERVICE.uid, SHARED_GROUP, 0o660)
        for person in (ALICE, BOB, MALLORY._replace(gid=SHARED_GROUP)):
            assert run_as(person, error_as, path, "GET", "/v1/nothing") == (404, "not-found")
        assert run_as(MALLORY, cannot_connect, path)
        # The mode is not what decides: who could connect is asked for at each request.
        os.chmod(path, 0o666)
        assert run_as(MALLORY, get_as, path, "/healthz") == {"status": "ok"}
        for target in ("/v1/nothing", "/"):
            assert run_as(MALLORY, error_as, path, "GET", target) == (403, "forbidden")
        assert get_as(path, "/healthz") == {"status": "ok"}
        serving.expect_said(f"refused to user {MALLORY.uid}")


def test_a_group_that_is_not_there():
    daemon = bus.Daemon("--control-group", "no-such-group", wait=False)
    assert daemon.wait() == 1
    assert "no-such-group" in daemon.said() and "--control-group" in daemon.said(), daemon.said()


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_errors():
    with bus.daemon() as daemon, api.Http(api.path_of(daemon)) as http:
        json_type = {"Content-Type": "application/json"}
        assert http.error("GET", "/") == (404, "not-found")
        assert http.error("GET", "/v1/no%00thing") == (404, "not-found")
        assert http.error("POST", "/healthz") == (405, "bad-method")
        assert http.error("DELETE", "/healthz") == (405, "bad-method")
        assert http.error("GET", "/healthz?limit=1") == (400, "bad-query")
        assert http.error("GET", "/healthz?limit") == (400, "bad-query")
        assert http.error("GET", "/healthz", "{}", json_type) == (400, "bad-body")
        status, headers, text = http.ask("HEAD", "/healthz")
        assert (status, headers["Allow"], text) == (405, "GET", b"")


# --- lists ------------------------------------------------------------------------------------------------------------


def pages(http, target, name, limit, between=lambda: None):
    """All entries, page by page."""
    found, after = [], 0
    while after is not None:
        answer = http.get(f"{target}?limit={limit}&after={after}")
        assert len(answer[name]) <= limit
        found += answer[name]
        after = answer["next"]
        between()
    return found


def test_pages_while_others_come_and_go():
    """Who stays is told once, in order; numbers are not used again."""
    with bus.daemon() as daemon, api.Http(api.path_of(daemon)) as http, daemon.connect() as connection, daemon.connect() as stays:
        staying = [f"{daemon.folder}/stays-{number}" for number in range(40)]
        for number, path in enumerate(staying):
            stays.open_socket(path)
            if number % 3 == 0:
                connection.open_socket(f"{path}-not")
        state = {"left": 14, "new": 0}

        def churn():
            for _ in range(3):
                if state["left"] > 0:
                    connection.send(bus.frame(bus.CLOSE, 0, state["left"].to_bytes(4, "little")))
                    state["left"] -= 1
                connection.open_socket(f"{daemon.folder}/new-{state['new']}")
                state["new"] += 1
                if state["new"] > 60:
                    state["left"] = 0

        found = pages(http, "/v1/topics", "topics", 7, lambda: churn() if state["new"] < 60 else None)
        numbers = [topic["id"] for topic in found]
        assert numbers == sorted(set(numbers)), numbers
        assert [topic["path"] for topic in found if "stays-" in topic["path"] and not topic["path"].endswith("-not")] == staying
        clients = pages(http, "/v1/clients", "clients", 1)
        assert len(clients) == 2 and clients[0]["id"] < clients[1]["id"], clients
        with daemon.connect():
            newest = pages(http, "/v1/clients", "clients", 1)[-1]["id"]
        bus.wait_for(lambda: len(pages(http, "/v1/clients", "clients", 1)) == 2, "it is gone")
        with daemon.connect():
            assert pages(http, "/v1/clients", "clients", 1)[-1]["id"] > newest


def test_long_names_leave_room_for_the_rest():
    """Who gives a file many names, as long as they may be, hides neither itself nor others."""
    with bus.daemon() as daemon, daemon.connect() as connection:
        folder = os.fsencode(os.path.realpath(daemon.folder))
        while len(folder) < 3700:
            folder += b"/" + b"\x01" * 250
            os.mkdir(folder)
        names = [folder + b"/%d" % n for n in range(60)]
        with open(names[0], "wb"):
            pass
        for name in names:
            if name != names[0]:
                os.link(names[0], name)
            connection.open_socket(name)
        with api.Http(api.path_of(daemon)) as http:
            number = http.get("/v1/topics")["topics"][0]["id"]
            told = http.get(f"/v1/topics/{number}?limit=1000")
        assert told["names"] == 60 and 0 < len(told["all_names"]) < 60, len(told["all_names"])
        assert len(told["member_list"]) == 60 and told["members_next"] is None and len(told["lane_list"]) == 1


def test_patterns():
    with bus.daemon() as daemon, api.Http(api.path_of(daemon)) as http, daemon.connect() as connection:
        (daemon.folder / "sub").mkdir()
        for name in ("app.db", "app.db-wal", "sub/app.db"):
            connection.open_socket(daemon.folder / name)
        folder = os.path.realpath(daemon.folder)
        for pattern, names in (("*.db", ["app.db"]), ("**/*.db", ["app.db", "sub/app.db"]), ("app.db*", ["app.db", "app.db-wal"]),
                               ("sub/**", ["sub/app.db"]), ("nothing", [])):
            topics = http.get(f"/v1/topics?path={folder}/{pattern}")["topics"]
            assert [topic["path"] for topic in topics] == [f"{folder}/{name}" for name in names], (pattern, topics)


def listen(line, address, path):
    with bus.Connection(address) as connection:
        connection.open_socket(path, bus.SUBSCRIBE)
        line.tell("open")
        while (answer := connection.receive()).kind == bus.EVENT_RESYNC:
            pass
        line.tell(answer.kind)
        line.expect("end")


def test_a_topic_of_several_users():
    """It has a lane for each, in pages of one; a post is told in all of them."""
    with users.system(witness=False) as (serving, _), api.Http(api.path_of(serving)) as http:
        path = serving.file("shared", ALICE, 0o644)
        guests = [users.Guest(person, listen, serving.address, path) for person in (ALICE, BOB, MALLORY)]
        for guest in guests:
            guest.expect("open")
        topic = http.get("/v1/topics")["topics"][0]
        assert (topic["path"], topic["lanes"], topic["members"], topic["posters"]) == (str(path), 3, 3, 1), topic
        found, after = [], None
        while after is not None or not found:
            detail = http.get(f"/v1/topics/{topic['id']}?limit=1" + (f"&lanes_after={after}" if found else ""))
            found += [lane["uid"] for lane in detail["lane_list"]]
            after = detail["lanes_next"]
        assert sorted(found) == [ALICE.uid, BOB.uid, MALLORY.uid], found
        members = http.get(f"/v1/topics/{topic['id']}")["member_list"]
        assert {member["uid"] for member in members} == set(found)
        assert all(member["command"].startswith("python") for member in members), members
        assert http.post("/v1/post", {"path": str(path)}) == (200, {"posted": True, "topic": topic["id"]})
        for guest in guests:
            guest.expect(bus.EVENT_POST)
            guest.tell("end")
            guest.end()


# --- what is done -----------------------------------------------------------------------------------------------------


def test_who_is_disconnected_is_told():
    with bus.daemon() as daemon, api.Http(api.path_of(daemon)) as http, daemon.connect() as connection, daemon.connect() as other:
        number = http.get("/v1/clients")["clients"][0]["id"]
        assert http.post(f"/v1/clients/{number}/disconnect") == (200, {"disconnected": True})
        connection.expect_error(errno.ECONNABORTED, 0, "admin")
        connection.expect_end()
        assert http.error("POST", f"/v1/clients/{number}/disconnect") == (404, "not-found")
        other.ping()


def test_a_kept_state_is_forgotten():
    folder = os.path.realpath(bus.new_folder())
    with open(f"{folder}/conf", "w", encoding="ascii") as file:
        file.write(f'[topic "{folder}/**"]\nkeep-state = 1h\n')
    with bus.daemon("--config", f"{folder}/conf") as daemon, api.Http(api.path_of(daemon)) as http:
        with daemon.connect() as connection:
            number = connection.open_socket(f"{folder}/file")
            connection.ask(bus.SET_STATE, struct.pack("<IIQQ", number, 0, 0, 7), bus.DONE)
        bus.wait_for(lambda: http.get("/v1/topics")["topics"][0]["kept"], "it has no members")
        topic = http.get("/v1/topics")["topics"][0]
        assert (topic["members"], topic["lanes"]) == (0, 0), topic
        assert http.get(f"/v1/topics/{topic['id']}")["state"]["value"] == 7
        assert http.post(f"/v1/topics/{topic['id']}/post") == (200, {"posted": True, "topic": topic["id"]})
        assert http.post(f"/v1/topics/{topic['id']}/forget") == (200, {"forgotten": True})
        assert http.get("/v1/topics")["topics"] == []
        with daemon.connect() as connection:
            number = connection.open_socket(f"{folder}/file")
            connection.ask(bus.GET_STATE, struct.pack("<I", number), bus.STATE)
        assert http.get("/v1/config")["topic_sections"][0]["pattern"] == f"{folder}/**"


def test_the_log_has_another_level():
    with bus.daemon() as daemon, api.Http(api.path_of(daemon)) as http:
        assert http.post("/v1/log-level", {"level": "error"}) == (200, {"level": "error", "was": "info"})
        with daemon.connect():
            assert http.post(f"/v1/clients/{http.get('/v1/clients')['clients'][-1]['id']}/disconnect")[0] == 200
        assert "disconnected" not in daemon.said() and "log's level is error" in daemon.said(), daemon.said()
        assert http.post("/v1/log-level", {"level": "info"})[0] == 200
        assert http.error("POST", "/v1/log-level", '{"level": "loud"}', {"Content-Type": "application/json"}) == (400, "bad-body")


def test_the_daemon_stops_while_answers_are_under_way():
    """Nothing is left, whatever was asked and not read."""
    daemon = bus.Daemon()
    connections = [api.raw(api.path_of(daemon)) for _ in range(8)]
    for connection in connections:
        connection.sendall(b"GET /v1/config HTTP/1.1\r\n\r\n" * 20 + b"POST /v1/reload HTTP/1.1\r\n\r\nGET /v1/to")
    daemon.stop()
    for connection in connections:
        connection.close()
    assert not os.path.exists(api.path_of(daemon))


if __name__ == "__main__":
    bus.main()
