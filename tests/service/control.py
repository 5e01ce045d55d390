#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The control socket: where it is, who may use it, what it answers."""

import os
import stat

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
        for person in (ALICE, BOB):
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


if __name__ == "__main__":
    bus.main()
