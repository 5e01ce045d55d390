# SPDX-License-Identifier: MIT
"""What is done inside the box, as root, with Pathbus installed: units.py starts it there. cases.py [NAME...]"""

import contextlib
import json
import mmap
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback

import bus

HERE = pathlib.Path(__file__).parent
SERVICE = "pathbusd.service"
DROP_INS = pathlib.Path(f"/run/systemd/system/{SERVICE}.d")
CONF = pathlib.Path("/etc/pathbus/pathbusd.conf")
ALICE, BOB = "alice", "bob"
SOCKET, CONTROL = pathlib.Path("/run/pathbus/socket"), pathlib.Path("/run/pathbus/control")
CAPS_OF_FILES = 1 << 6 | 1 << 7 | 1 << 19
ON_BUS, BESIDE = 1, 2
wait_for = bus.wait_for


# --- systemd --------------------------------------------------------------------------------------------------------


def run(*command, check=True, **keywords):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL, **keywords)
    if check:
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def systemctl(*arguments, **keywords):
    return run("systemctl", *arguments, **keywords).stdout


def show(*names, unit=SERVICE, ctl=systemctl):
    """The unit's properties: one, or a tuple."""
    lines = dict(line.split("=", 1) for line in ctl("show", unit, *(f"--property={name}" for name in names)).splitlines())
    values = tuple(lines[name] for name in names)
    return values[0] if len(names) == 1 else values


def main_pid():
    return int(show("MainPID"))


def journal(since=None):
    """What the service has said, in order."""
    run("journalctl", "--sync")
    lines = run("journalctl", "--output=json", "--no-pager", f"--unit={SERVICE}", *([f"--after-cursor={since}"] if since else []))
    return [json.loads(line) for line in lines.stdout.splitlines()]


def cursor():
    return run("journalctl", "--no-pager", "--lines=0", "--show-cursor").stdout.rpartition("cursor: ")[2].strip()


def said(since=None):
    return "\n".join(str(entry.get("MESSAGE")) for entry in journal(since))


def drop_in(name, text):
    DROP_INS.mkdir(parents=True, exist_ok=True)
    (DROP_INS / f"{name}.conf").write_text(text)
    systemctl("daemon-reload")


def fresh():
    """Nothing runs, nothing is configured; the sockets listen."""
    shutil.rmtree(DROP_INS, ignore_errors=True)
    CONF.unlink(missing_ok=True)
    systemctl("daemon-reload")
    systemctl("stop", SERVICE)
    systemctl("reset-failed", check=False)
    systemctl("start", "pathbusd.socket", "pathbusd-control.socket")


# --- users and programs ---------------------------------------------------------------------------------------------


def be(user):
    entry = pwd.getpwnam(user)

    def become():
        os.setgroups([])
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)

    return become


def run_as(user, *command, **keywords):
    return run(*command, preexec_fn=be(user), cwd="/", **keywords)


def pathbusctl(user, *arguments, **keywords):
    return run_as(user, "pathbusctl", *arguments, **keywords)


def make(path, owner, mode=0o600):
    path = pathlib.Path(path)
    path.touch()
    shutil.chown(path, owner, owner)
    path.chmod(mode)
    return path


class Guests:
    """Programs that go on posting and listening (guest.c), whatever becomes of the service meanwhile."""

    STOP, CHANGE, N_LISTENERS, LOOKED, TRANSPORT, REFUSED, SIZE = 0, 8, 16, 24, 88, 152, 160

    def __init__(self, file, poster, listeners):
        path = pathlib.Path(f"/run/counters-{os.urandom(4).hex()}")
        path.write_bytes(struct.pack("<QQQ", 0, 0, len(listeners)).ljust(self.SIZE, b"\0"))
        path.chmod(0o666)
        with open(path, "r+b") as counters:
            self.words = mmap.mmap(counters.fileno(), self.SIZE)
        self.n = len(listeners)
        self.processes = [self.start(user, "listen", path, number, file) for number, user in enumerate(listeners, 1)]
        self.processes.append(self.start(poster, "post", path, 0, file))

    @staticmethod
    def start(user, what, path, number, file):
        process = subprocess.Popen([HERE / "guest", what, path, str(number), file], stdout=subprocess.PIPE, preexec_fn=be(user),
                                   stdin=subprocess.DEVNULL, text=True, cwd="/")
        assert process.stdout.readline() == "open\n", f"no {what} by {user}"
        return process

    def word(self, at):
        return struct.unpack_from("<Q", self.words, at)[0]

    def go_on(self, n=20):
        """So many more changes: each was posted, and everybody has looked since."""
        until = self.word(self.CHANGE) + n

        def is_there():
            for process in self.processes:
                assert process.poll() is None, f"a guest has ended with {process.returncode}: a post was lost"
            return self.word(self.CHANGE) > until

        wait_for(is_there, f"{n} more posts are heard", 60)

    def wait_until_on(self, transport):
        wait_for(lambda: all(self.word(self.TRANSPORT + 8 * i) == transport for i in range(self.n + 1)),
                 "all are " + ("with the daemon" if transport == ON_BUS else "beside the file"))

    def end(self):
        self.go_on()
        struct.pack_into("<Q", self.words, self.STOP, 1)
        assert [process.wait(60) for process in self.processes] == [0] * (self.n + 1), "a post was lost"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.end()
        finally:
            for process in self.processes:
                process.kill()
                process.wait()


def status_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def children_of(pid):
    return [child for child in bus.processes() if (bus.parent_and_state(child) or (0,))[0] == pid]


def files_process(pid):
    found, = [child for child in children_of(pid) if int(status_of(child)["CapPrm"][0], 16) == CAPS_OF_FILES]
    return found


# --- what is installed ------------------------------------------------------------------------------------------------


def test_units_are_sound():
    folder = pathlib.Path(show("FragmentPath")).parent
    for option, units in (("--system", folder), ("--user", folder.parent / "user")):
        units = sorted(units.glob("pathbusd*"))
        assert len(units) == 3, units
        done = run("systemd-analyze", option, "verify", "--recursive-errors=yes", "--man=no", *units,
                   env={**os.environ, "XDG_RUNTIME_DIR": "/run"})
        assert not done.stdout + done.stderr, done
    # As it was loaded, with whatever this system's defaults add.
    done = run("systemd-analyze", "security", "--no-pager", SERVICE)
    score = float(re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)[1])
    assert score <= 1.5, done.stdout


def test_service_user_and_folder():
    entry = pwd.getpwnam("pathbus")
    assert entry.pw_uid != 0 and entry.pw_shell.endswith("nologin"), entry
    folder = SOCKET.parent.stat()
    assert (folder.st_uid, folder.st_mode & 0o7777) == (entry.pw_uid, 0o755)
    assert SOCKET.stat().st_mode & 0o777 == 0o666
    assert CONTROL.stat().st_mode & 0o777 == 0o600 and CONTROL.stat().st_uid == entry.pw_uid


# --- the service --------------------------------------------------------------------------------------------------------


def test_activation():
    """It is started by the first client, whoever that is, and says what it does."""
    assert show("ActiveState") == "inactive" and show("ActiveState", unit="pathbusd.socket") == "active"
    inode = SOCKET.stat().st_ino
    pathbusctl(ALICE, "--transport", "bus", "--timeout-ms", "20000", "ping")
    active, status, pid = show("ActiveState", "StatusText", "MainPID")
    assert active == "active" and status.startswith(f"Serving {SOCKET}: "), (active, status)
    assert (SOCKET.parent / "socket.lock").read_text().strip() == pid
    systemctl("stop", SERVICE)
    assert show("Result", "ExecMainStatus") == ("success", "0")
    assert SOCKET.stat().st_ino == inode and not (SOCKET.parent / "socket.lock").exists()
    assert [entry for entry in journal() if int(entry["PRIORITY"]) <= 3] == []


def test_processes_are_separated():
    systemctl("start", SERVICE)
    uid = str(pwd.getpwnam("pathbus").pw_uid)
    make("/srv/file", ALICE)
    pathbusctl(ALICE, "--transport", "bus", "check", "/srv/file")
    pid = main_pid()
    status = status_of(pid)
    assert status["Uid"] == [uid] * 4 and status["CapEff"] == status["CapPrm"] == ["0" * 16] and status["NoNewPrivs"] == ["1"]
    assert status["Seccomp"] == ["2"] and int(status["Seccomp_filters"][0]) >= 2
    children = {child: status_of(child) for child in children_of(pid)}
    assert all(status["Uid"] == [uid] * 4 and status["NoNewPrivs"] == ["1"] for status in children.values())
    assert {int(status["CapPrm"][0], 16) for status in children.values()} <= {0, CAPS_OF_FILES}
    workers = children_of(files_process(pid))
    assert workers and all(int(status_of(worker)["CapPrm"][0], 16) == 0 for worker in workers)
    assert any(status_of(worker)["Uid"] == [str(pwd.getpwnam(ALICE).pw_uid)] * 4 for worker in workers)


def may_raise_limits():
    return bool(int(status_of(1)["CapEff"][0], 16) & 1 << 24)


def test_limits():
    """Those of the unit, and those of an admin's drop-in, reach the daemon."""
    systemctl("start", SERVICE)
    most = pathlib.Path("/proc/1/limits").read_text()
    most = "524288" if may_raise_limits() else re.search(r"Max open files +\d+ +(\d+)", most)[1]
    for expected in (most, "3000"):
        pid = main_pid()
        line, = [line for line in pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines() if "Max open files" in line]
        assert line.split()[3:5] == [expected, expected], line
        tasks = pathlib.Path(f"/sys/fs/cgroup{show('ControlGroup')}/pids.max")
        assert not tasks.exists() or tasks.read_text().strip() == "4096"
        since = cursor()
        drop_in("limits", "[Service]\nLimitNOFILE=3000\n")
        systemctl("restart", SERVICE)
    assert "with 3000 descriptors in all" in said(since), said(since)


# --- files, as their users see them, from a service that has mounts of its own -------------------------------------------


def rights(user, path):
    out = pathbusctl(user, "--transport", "bus", "--timeout-ms", "20000", "check", path, check=False)
    return out.returncode, out.stdout + out.stderr


def test_files_of_users():
    """In homes, in /tmp, where the service may not write, and on a mount that is read-only."""
    systemctl("start", SERVICE)
    for folder in (pathlib.Path("/home/alice"), pathlib.Path("/tmp"), pathlib.Path("/srv"), pathlib.Path("/usr/share"), pathlib.Path("/root")):
        own, readable = make(folder / "own", ALICE), make(folder / "readable", ALICE, 0o644)
        os.chmod(folder, os.stat(folder).st_mode | 0o001)
        status, out = rights(ALICE, own)
        assert status == 0 and "bus" in out, (own, out)
        assert rights(BOB, own)[0] != 0, own
        assert pathbusctl(BOB, "--transport", "bus", "post", readable, check=False).returncode == 77, readable
    run("mount", "--bind", "/srv", "/mnt")
    run("mount", "-o", "remount,bind,ro", "/mnt")
    try:
        shared = make("/srv/shared", ALICE, 0o666)
        assert pathbusctl(BOB, "--transport", "bus", "post", shared).returncode == 0
        assert pathbusctl(BOB, "--transport", "bus", "post", "/mnt/shared", check=False).returncode == 77
    finally:
        run("umount", "/mnt")


def test_configured_rights_go_by_path():
    """Rules about other files are not taken for rules about all files."""
    CONF.parent.mkdir(exist_ok=True)
    CONF.write_text("[rights]\npost = /srv/closed/** :\n")
    systemctl("restart", SERVICE)
    closed = pathlib.Path("/srv/closed")
    closed.mkdir(exist_ok=True)
    os.chmod(closed, 0o777)
    assert pathbusctl(ALICE, "--transport", "bus", "post", make("/srv/open", ALICE)).returncode == 0
    done = pathbusctl(ALICE, "--transport", "bus", "post", make(closed / "file", ALICE), check=False)
    assert done.returncode == 77, done


def test_links():
    """Who does not ask the daemon meets the others beside the file: by an agent of the service, in its user's home."""
    systemctl("start", SERVICE)
    path = make("/home/alice/linked", ALICE)
    listener = subprocess.Popen(["pathbusctl", "--transport", "peer", "listen", "--count", "1", path], preexec_fn=be(ALICE), cwd="/",
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert "peer" in listener.stdout.readline()
        assert pathlib.Path("/home/alice/.linked.pathbus").is_dir()
        pathbusctl(ALICE, "--transport", "bus", "--timeout-ms", "20000", "post", path)
        assert listener.wait(bus.LIMIT_S) == 0
    finally:
        listener.kill()
        listener.communicate()


# --- it ends, and comes again: no post is lost -----------------------------------------------------------------------------


def shared_file():
    return make("/srv/shared", ALICE, 0o666)


def expect_restart(pid):
    wait_for(lambda: main_pid() not in (0, pid) and show("ActiveState") == "active", "it is there again")


def test_crash():
    """Killed: restarted at once, and whoever was with it is again."""
    systemctl("start", SERVICE)
    with Guests(shared_file(), ALICE, [ALICE, BOB]) as guests:
        for _ in range(2):
            guests.wait_until_on(ON_BUS)
            guests.go_on()
            pid = main_pid()
            os.kill(pid, signal.SIGKILL)
            expect_restart(pid)
            guests.go_on()
        guests.wait_until_on(ON_BUS)
    assert int(show("NRestarts")) >= 2


def test_a_crash_of_the_files_process():
    """Main cannot have another one: it says so, and systemd starts both."""
    systemctl("start", SERVICE)
    with Guests(shared_file(), ALICE, [ALICE]) as guests:
        guests.wait_until_on(ON_BUS)
        pid = main_pid()
        os.kill(files_process(pid), signal.SIGKILL)
        expect_restart(pid)
        guests.wait_until_on(ON_BUS)


def test_watchdog():
    """A main process that stands still is replaced."""
    drop_in("watchdog", "[Service]\nWatchdogSec=1\n")
    systemctl("start", SERVICE)
    with Guests(shared_file(), ALICE, [ALICE, BOB]) as guests:
        guests.wait_until_on(ON_BUS)
        pid = main_pid()
        since = cursor()
        os.kill(pid, signal.SIGSTOP)
        expect_restart(pid)
        guests.wait_until_on(ON_BUS)
        guests.go_on()
    run("journalctl", "--sync")
    assert "Watchdog timeout" in run("journalctl", "--no-pager", f"--after-cursor={since}").stdout


def test_upgrade():
    """Another program under the same name, and a restart, while programs post and listen; as a package does it."""
    systemctl("start", SERVICE)
    program = pathlib.Path(f"/proc/{main_pid()}/exe").resolve()
    with Guests(shared_file(), ALICE, [ALICE, BOB, ALICE]) as guests:
        for _ in range(2):
            guests.wait_until_on(ON_BUS)
            guests.go_on()
            pid, inode = main_pid(), program.stat().st_ino
            new = shutil.copy2(program, f"{program}.new")
            os.rename(new, program)
            assert program.stat().st_ino != inode
            systemctl("try-restart", SERVICE)
            assert main_pid() != pid and os.stat(f"/proc/{main_pid()}/exe").st_ino == program.stat().st_ino
        guests.wait_until_on(ON_BUS)
    assert show("Result") == "success"


def test_reload():
    """The same process goes on, with what it reads then; or, where that is wrong, with what it had."""
    CONF.parent.mkdir(exist_ok=True)
    CONF.write_text("[daemon]\nlog-level = info\n")
    systemctl("start", SERVICE)
    with Guests(shared_file(), ALICE, [ALICE]) as guests:
        guests.wait_until_on(ON_BUS)
        pid = main_pid()
        for text, expected in (("[daemon]\nlog-level = debug\n", "log-level"), ("[daemon]\nno-such-key = 1\n", "no-such-key")):
            since = cursor()
            CONF.write_text(text)
            systemctl("reload", SERVICE)
            wait_for(lambda: expected in said(since), f"it has read {text}")
            wait_for(lambda: show("ActiveState", "SubState") == ("active", "running"), "it is not reloading any more")
            guests.go_on()
            assert main_pid() == pid
    assert show("Result") == "success"


def test_journal():
    """Each line has its priority, and what it is about as a field."""
    since = cursor()
    systemctl("start", SERVICE)
    with bus.Connection(SOCKET) as connection:
        connection.send(bus.frame(99, 1))
        while connection.receive():
            pass
    expected = {"serving": "6", "drop-type": "4"}

    def found():
        return {entry.get("PATHBUS_REASON"): entry["PRIORITY"] for entry in journal(since) if entry.get("_COMM") == "pathbusd"}

    wait_for(lambda: expected.items() <= found().items(), f"{expected} are there; there are {found()}")


def ask_control(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(bus.LIMIT_S)
        client.connect(os.fspath(CONTROL))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: pathbus\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while data := client.recv(65536):
            answer += data
    return int(answer.split()[1]), json.loads(answer.partition(b"\r\n\r\n")[2])


def ask_control_as(user):
    """The status of the answer, or the error."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            be(user)()
            os.write(writer, str(ask_control("/healthz")[0]).encode())
        except BaseException as error:
            os.write(writer, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    answer = os.read(reader, 100).decode()
    os.close(reader)
    os.close(writer)
    return answer


def test_control():
    """Its socket is the service manager's, too: an admin's question starts the service, and is answered; others cannot connect."""
    assert show("ActiveState") == "inactive"
    inode = CONTROL.stat().st_ino
    assert ask_control("/healthz") == (200, {"status": "ok"})
    assert show("ActiveState") == "active"
    assert ask_control_as(ALICE) == "PermissionError"
    systemctl("stop", SERVICE)
    assert CONTROL.stat().st_ino == inode
    # A group of admins: in the unit who may connect, in the configuration whom it answers.
    folder = pathlib.Path("/run/systemd/system/pathbusd-control.socket.d")
    folder.mkdir()
    (folder / "group.conf").write_text("[Socket]\nSocketGroup=alice\nSocketMode=0660\n")
    CONF.parent.mkdir(exist_ok=True)
    CONF.write_text("[daemon]\ncontrol-group = alice\n")
    systemctl("daemon-reload")
    systemctl("restart", "pathbusd-control.socket")
    try:
        assert ask_control_as(ALICE) == "200"
        assert ask_control_as(BOB) == "PermissionError"
    finally:
        shutil.rmtree(folder)
        systemctl("daemon-reload")
        systemctl("stop", SERVICE, "pathbusd-control.socket")


def test_idle_exit():
    """With somebody there it stays; with nobody it ends, its sockets stay, and who comes has it started again."""
    CONF.parent.mkdir(exist_ok=True)
    CONF.write_text("[daemon]\nidle-exit = 300\n")
    path = shared_file()
    for _ in range(2):
        with Guests(path, ALICE, [BOB]) as guests:
            guests.wait_until_on(ON_BUS)
            pid = main_pid()
            began = time.monotonic()
            while time.monotonic() - began < 0.5:
                guests.go_on(5)
            assert main_pid() == pid
        wait_for(lambda: show("ActiveState") == "inactive", "it ends when it is idle")
        assert show("Result", "NRestarts") == ("success", "0")
        assert show("ActiveState", unit="pathbusd.socket") == "active"


def test_stop_and_start():
    """Without its sockets programs of one user go on beside the file, and come back."""
    systemctl("start", SERVICE)
    with Guests(make("/srv/own", ALICE), ALICE, [ALICE]) as guests:
        guests.wait_until_on(ON_BUS)
        systemctl("stop", "pathbusd.socket", "pathbusd-control.socket", SERVICE)
        assert not SOCKET.exists() and not CONTROL.exists()
        guests.wait_until_on(BESIDE)
        guests.go_on()
        systemctl("start", "pathbusd.socket")
        guests.wait_until_on(ON_BUS)
        assert show("ActiveState") == "active", "they have started it"


def test_a_wrong_configuration():
    """Starting ends after some tries, and programs do without it; nobody waits for ever."""
    CONF.parent.mkdir(exist_ok=True)
    CONF.write_text("[daemon]\nno-such-key = 1\n")
    path = make("/srv/own", ALICE)
    assert pathbusctl(ALICE, "post", path).returncode == 0
    wait_for(lambda: show("Result", unit="pathbusd.socket") != "success", "the sockets are closed")
    assert "no-such-key" in said()
    assert pathbusctl(ALICE, "--transport", "bus", "ping", check=False).returncode == 69
    CONF.unlink()
    systemctl("reset-failed", SERVICE, "pathbusd.socket")
    systemctl("start", "pathbusd.socket")
    pathbusctl(ALICE, "--transport", "bus", "--timeout-ms", "20000", "ping")


# --- a user's own -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def user_manager(user):
    uid = pwd.getpwnam(user).pw_uid
    folder = pathlib.Path(f"/run/user/{uid}")
    systemctl("start", f"user@{uid}.service")

    def ctl(*arguments, **keywords):
        return run_as(user, "systemctl", "--user", *arguments, env={**os.environ, "XDG_RUNTIME_DIR": str(folder)}, **keywords).stdout

    try:
        yield ctl, folder
    finally:
        systemctl("stop", f"user@{uid}.service")


def test_user_instance():
    """By `systemctl --user`: on demand, its user's alone, and out of the way when the system's comes."""
    systemctl("stop", "pathbusd.socket", "pathbusd-control.socket", SERVICE)
    path = make("/home/alice/file", ALICE)
    with user_manager(ALICE) as (ctl, folder):
        ctl("start", "pathbusd.socket", "pathbusd-control.socket")
        assert show("ActiveState", ctl=ctl) == "inactive"
        assert (folder / "pathbus").stat().st_mode & 0o777 == 0o700
        with Guests(path, ALICE, [ALICE]) as guests:
            guests.wait_until_on(ON_BUS)
            active, status = show("ActiveState", "StatusText", ctl=ctl)
            assert active == "active" and status.startswith(f"Serving {folder}/pathbus/socket"), status
            pid = int(show("MainPID", ctl=ctl))
            assert status_of(pid)["Uid"][0] == str(pwd.getpwnam(ALICE).pw_uid) and status_of(pid)["NoNewPrivs"] == ["1"]
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: int(show("MainPID", ctl=ctl)) not in (0, pid), "it is restarted")
            guests.wait_until_on(ON_BUS)
            guests.go_on()
            # Its programs go over to the system's, which they start by that.
            systemctl("start", "pathbusd.socket")
            wait_for(lambda: show("ActiveState", ctl=ctl) == "inactive", "it gives way")
            assert show("Result", ctl=ctl) == "success"
            guests.wait_until_on(ON_BUS)
            assert show("ActiveState") == "active"
        # And at the next login it is not even listened for.
        ctl("stop", "pathbusd.socket")
        ctl("start", "pathbusd.socket")
        assert show("ConditionResult", "ActiveState", unit="pathbusd.socket", ctl=ctl) == ("no", "inactive")


def main():
    os.umask(0o022)
    for user in (ALICE, BOB):
        run("useradd", "--create-home", user)
        run("chmod", "711", f"/home/{user}")
    run("ldconfig")
    run("systemd-sysusers", "pathbus.conf")
    run("systemd-tmpfiles", "--create", "pathbus.conf")
    failed = []
    for name, function in list(globals().items()):
        if not name.startswith("test_") or (sys.argv[1:] and name not in sys.argv[1:]):
            continue
        began = time.monotonic()
        try:
            fresh()
            since = cursor()
            function()
            print(f"passed: {name} ({time.monotonic() - began:.1f} s)", flush=True)
        except BaseException:
            traceback.print_exc()
            print(f"FAILED: {name}; the journal:", flush=True)
            print(run("journalctl", "--no-pager", f"--after-cursor={since}", check=False).stdout[-6000:], flush=True)
            failed.append(name)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
