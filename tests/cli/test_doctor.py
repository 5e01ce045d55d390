#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pathbusctl doctor: each finding in a situation that is set up for real."""

import contextlib
import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import unittest

import ctl

ROOT = os.geteuid() == 0
OTHER = 500000 + os.getpid() % 200000 * 2  # users without an entry anywhere, and not those of another run
SERVICE = OTHER + 1
CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_BIND = 0x20000, 0x4000, 0x40000, 0x1000
F_OFD_SETLK = 37
ABI, CLOSED = 8, 544  # in a page
libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind=None, flags=0, data=None):
    words = [word if word is None else os.fsencode(word) for word in (source, target, kind)]
    if libc.mount(*words, flags, data if data is None else os.fsencode(data)) < 0:
        raise OSError(ctypes.get_errno(), f"mounting {target}")


def apart(*mounts, uid=None):
    """For Popen: in mounts of its own, after these; then as this user."""
    def prepare():
        if libc.unshare(CLONE_NEWNS) < 0:
            raise OSError(ctypes.get_errno(), "unshare")
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        for one in mounts:
            one() if callable(one) else mount(*one)
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
    return {"preexec_fn": prepare}


def can_mount():
    """Whether there is a way to have mounts of one's own here."""
    try:
        return ROOT and subprocess.run(["true"], check=False, **apart(("none", "/mnt", "tmpfs"))).returncode == 0
    except subprocess.SubprocessError:
        return False


as_other = {"user": OTHER, "group": OTHER, "extra_groups": []} if ROOT else {}
needs_users = unittest.skipUnless(ROOT, "needs root: others are other users")
needs_mounts = unittest.skipUnless(can_mount(), "needs mounts of its own: root")


class Doctor(ctl.Case):
    def setUp(self):
        if ROOT:
            self.addCleanup(self.remove_runtime_folder)  # the last, after the processes
        super().setUp()
        os.chmod(self.folder, 0o755)

    def remove_runtime_folder(self):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(f"/dev/shm/pathbus-{OTHER}")  # which stays, empty: no other test has this user

    def start_system_daemon(self, *words):
        self.socket = os.path.join(self.folder, "run/socket")
        self.env["PATHBUS_ADDRESS"] = self.socket
        self.start_daemon("--system", "--user", str(SERVICE), *words)

    def make(self, name="data", mode=0o644):
        with open(self.path(name), "w"):
            pass
        os.chmod(self.path(name), mode)

    def doctor(self, *words, status=None, path=None, **options):
        """What it prints as JSON; checks what is true of all."""
        result = self.call("doctor", "--json", *words, path or self.path(), **options)
        self.assertEqual(result.stderr, b"")
        found = json.loads(result.stdout)
        self.assertEqual(found["problems"], sum(finding["problem"] for finding in found["findings"]))
        self.assertEqual(result.returncode, 1 if found["problems"] else 0)
        if status is not None:
            self.assertEqual(result.returncode, status, found["findings"])
        for finding in found["findings"]:
            self.assertEqual(set(finding), {"code", "problem", "what", "remedy"})
            self.assertGreater(len(finding["remedy"]), 10)
        self.codes_of(found)
        return found

    def codes_of(self, found):
        self.seen.update((finding["code"], finding["problem"]) for finding in found["findings"])
        return {finding["code"]: finding["problem"] for finding in found["findings"]}

    def codes(self, *words, **options):
        return self.codes_of(self.doctor(*words, **options))

    seen = set()  # of all cases: (code, is a problem)

    def sidecar(self, name="data"):
        return os.path.join(self.files, f".{name}.pathbus")

    def place(self, found):
        return found["sidecar"]["places"][0]

    def serve(self, listener, told, answer, uid):
        if uid is not None:
            os.chown(self.folder, uid, uid)
            os.setresuid(uid, uid, uid)
            listener.bind(self.socket)
            listener.listen()
        os.write(told, b".")
        while True:
            with listener.accept()[0] as client, contextlib.suppress(ConnectionError):
                client.sendall(answer)
                if answer:
                    client.recv(100)

    def server(self, answer, uid=None):
        """Listens at the address as something else than a daemon, in a process of its own, which may be another user's."""
        listener = socket.socket(socket.AF_UNIX)
        if uid is None:
            listener.bind(self.socket)
            listener.listen()
        ready, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                self.serve(listener, told, answer, uid)
            finally:
                os._exit(1)
        listener.close()
        os.close(told)
        self.assertEqual(os.read(ready, 1), b".")
        os.close(ready)

        def end():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.chown(self.folder, os.geteuid(), os.getegid())
        self.addCleanup(end)


PEER = ["--transport", "peer"]


class File(Doctor):
    def test_nothing_is_wrong(self):
        self.make()
        found = self.doctor(*PEER, status=0)
        folder, file = os.stat(self.files), os.stat(self.path())
        topic = found["topic"]
        self.assertEqual((topic["folder_device"], topic["folder_inode"], topic["name"]), (folder.st_dev, folder.st_ino, "data"))
        self.assertEqual((topic["device"], topic["inode"], topic["links"]), (file.st_dev, file.st_ino, 1))
        self.assertEqual((found["transport"]["kind"], found["daemon"]["asked"], found["findings"]), ("peer", False, []))
        self.assertEqual((found["rights"]["subscribe"], found["rights"]["post"]), (True, True))
        text = self.call("doctor", *PEER, self.path())
        self.assertEqual((text.returncode, text.stdout.splitlines()[-1].split(None, 1)), (0, [b"result", b"no problem found"]))

    def test_links_are_resolved(self):
        os.mkdir(self.path("real"))
        os.symlink("real/name", self.path())
        topic = self.doctor(*PEER, status=0)["topic"]
        self.assertEqual((topic["name"], topic["folder"], topic["exists"]),
                         ("name", os.path.join(self.files, "real"), False))
        self.assertEqual(topic["folder_inode"], os.stat(self.path("real")).st_ino)

    def test_names_are_escaped(self):
        name = b"\x1b[31m\xff"
        result = self.call("doctor", *PEER, self.path(name))
        self.assertRegex(result.stdout, rb"\A[ -~\n]+\Z")
        self.assertIn(rb"\x1b[31m\xff", result.stdout)
        self.assertEqual(self.doctor(*PEER, path=self.path(name))["topic"]["name_bytes_hex"], name.hex())

    def test_no_folder(self):
        self.assertEqual(self.codes(path=self.path("none/x")), {"no-topic": True})
        result = self.call("doctor", self.path("none/x"))
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stdout, rb"(?m)^problem +no-topic: .*\n +remedy: .+\n")

    def test_hard_links(self):
        self.make()
        os.link(self.path(), self.path("other"))
        self.assertEqual(self.codes(*PEER), {"hard-links": True})
        self.start_daemon()
        self.assertEqual(self.codes(), {})  # which can tell

    @needs_mounts
    def test_the_file_alone_is_mounted(self):
        self.make()
        self.make("place of it")
        found = self.doctor(*PEER, path=self.path("place of it"),
                            **apart((self.path(), self.path("place of it"), None, MS_BIND)))
        self.assertEqual(self.codes_of(found), {"file-mount": True})
        self.assertIn(os.fsdecode(self.path()).rsplit("/", 2)[-1], found["findings"][0]["what"])

    @needs_mounts
    def test_a_file_system_that_spans_hosts(self):
        if not os.path.exists("/dev/fuse"):
            self.skipTest("there is no FUSE")
        fuse = os.open("/dev/fuse", os.O_RDWR)
        is_mounted, mounted = os.pipe()
        server = threading.Thread(target=serve_fuse, args=[fuse, is_mounted], daemon=True)
        server.start()
        options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0"
        found = self.doctor(*PEER, pass_fds=[fuse], **apart(("fuse", self.files, "fuse", 0, options),
                                                                     lambda: os.write(mounted, b".")))
        server.join(ctl.LIMIT_S)
        for fd in [fuse, is_mounted, mounted]:
            os.close(fd)
        self.assertEqual(self.codes_of(found), {"remote-file-system": False})
        self.assertEqual((found["topic"]["spans_hosts"], found["transport"]["local_only"]), (True, True))


def serve_fuse(fd, is_mounted):
    """A file system with an empty folder. It ends with its mount."""
    os.read(is_mounted, 1)
    init, getattr_, lookup, statfs, forget = 26, 3, 1, 17, {2, 42}
    attributes = struct.pack("<QQQQQQIIIIIIIIII", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 512, 0)
    while True:
        try:
            request = os.read(fd, 1 << 17)
        except OSError:
            return
        _, opcode, unique = struct.unpack_from("<IIQ", request)
        body, error = b"", 0
        if opcode in forget:
            continue
        if opcode == init:
            body = struct.pack("<IIIIHHIIHHIIII", 7, 31, 0, 0, 0, 0, 4096, 0, 0, 0, 0, 0, 0, 0) + bytes(8)
        elif opcode == getattr_:
            body = struct.pack("<QII", 0, 0, 0) + attributes
        elif opcode == statfs:
            body = bytes(80)
        elif opcode == lookup:
            error = -2
        else:
            error = -38
        with contextlib.suppress(OSError):
            os.write(fd, struct.pack("<IiQ", 16 + len(body), error, unique) + body)


class Daemon(Doctor):
    def test_it_answers(self):
        self.start_daemon()
        found = self.doctor(status=0)
        daemon = found["daemon"]
        self.assertEqual((daemon["taken"], daemon["address"], daemon["pid"], daemon["uid"], daemon["instance"]),
                         (True, self.socket, self.pathbusd.pid, os.geteuid(), "user"))
        self.assertEqual([at["result"] for at in daemon["addresses"]], ["taken"])
        version = self.expect(0, "version").stdout.decode().split()[1]
        self.assertEqual((daemon["version"], daemon["control"]), (version, self.socket + ".control"))
        self.env["PATHBUS_CONTROL"] = self.path("none")
        daemon = self.doctor(status=0)["daemon"]
        self.assertEqual((daemon["version"], daemon["instance"]), (None, "user"))
        self.assertEqual(found["transport"]["kind"], "bus")

    @needs_users
    def test_that_of_all_users(self):
        self.start_system_daemon()
        found = self.doctor(status=0)
        self.assertEqual((found["daemon"]["instance"], found["daemon"]["uid"], found["daemon"]["pid"]),
                         ("system", SERVICE, self.pathbusd.pid))
        self.assertEqual(found["daemon"]["addresses"][0]["listener_uid"], 0)
        self.env["PATHBUS_CONTROL"] = self.path("none")  # which says so; without it that is seen all the same
        self.assertEqual(self.doctor(status=0)["daemon"]["instance"], "system")

    def test_the_given_address_is_dead(self):
        found = self.doctor(status=1)
        self.assertEqual(found["daemon"]["addresses"], [{"address": self.socket, "source": "$PATHBUS_ADDRESS",
                                                         "result": "absent", "why": "not taken: there is no socket"}])
        self.assertEqual(self.codes_of(found), {"no-daemon-there": True})

    @needs_mounts
    def test_order(self):
        """The known places: a dead socket, then the user's own."""
        del self.env["PATHBUS_ADDRESS"]
        own = f"/run/user/{os.geteuid()}"

        def prepare():
            os.makedirs("/run/pathbus")
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind("/run/pathbus/socket")
            os.makedirs(own + "/pathbus")
            os.chmod(own, 0o700)
            os.symlink(self.socket, own + "/pathbus/socket")
        self.pathbusd = subprocess.Popen([ctl.DAEMON, "--address", self.socket], env=self.env, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ctl.wait_until("the daemon answers", lambda: self.call("--address", self.socket, "ping").returncode == 0)
        found = self.doctor(**apart(("none", "/run", "tmpfs"), prepare))
        self.assertEqual([(at["address"], at["result"]) for at in found["daemon"]["addresses"]],
                         [("/run/pathbus/socket", "dead"), (own + "/pathbus/socket", "taken")])
        self.assertEqual(self.codes_of(found), {"dead-socket": False})

    def test_it_is_stopped(self):
        self.start_daemon()
        self.pathbusd.send_signal(signal.SIGSTOP)
        found = self.doctor("--timeout-ms", "50")
        self.pathbusd.send_signal(signal.SIGCONT)
        self.assertEqual(found["daemon"]["addresses"][0]["result"], "silent")
        self.assertEqual(self.codes_of(found), {"silent-daemon": True})

    def test_it_ends_the_connection(self):
        self.server(b"")
        self.assertEqual(self.codes(), {"refusing-daemon": True, "no-daemon-there": True})

    def test_something_else_listens(self):
        self.server(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertEqual(self.codes(), {"foreign-daemon": True, "no-daemon-there": True})

    @needs_users
    def test_another_user_listens(self):
        self.server(b"", uid=OTHER)
        found = self.doctor()
        self.assertEqual(self.codes_of(found), {"untrusted-daemon": True, "no-daemon-there": True})
        self.assertEqual(found["daemon"]["addresses"][0]["listener_uid"], OTHER)

    @needs_users
    def test_the_socket_may_not_be_reached(self):
        self.start_daemon()
        os.chmod(self.socket, 0o600)
        os.chmod(self.files, 0o777)
        self.assertEqual(self.codes(**as_other), {"unreachable-daemon": True, "no-daemon-there": True})

    def test_it_cannot_link(self):
        """The daemon sends the topic away, to where others are."""
        alone = os.path.join(self.folder, "pathbusd")
        shutil.copy(ctl.DAEMON, alone)  # without its link agent, unless one is installed
        listener = self.listen_as_peer()
        self.pathbusd = subprocess.Popen([alone, "--address", self.socket], env=self.env, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ctl.wait_until("the daemon answers", lambda: self.call("ping").returncode == 0)
        self.assertEqual(self.codes(), {"beside-daemon": True})
        self.assertEqual(self.codes("--transport", "bus"), {"open-fails": True})
        listener.close()

    def listen_as_peer(self):
        process = self.start([ctl.CTL, *ctl.PATIENT, *PEER, "listen", self.path()])
        self.assertRegex(process.err.line(), rb"\(peer\)\Z")
        return process

    def test_no_connection(self):
        self.assertEqual(self.codes("--transport", "bus"), {"no-daemon-there": True, "no-connection": True})

    def test_it_is_linked(self):
        listener = self.listen_as_peer()
        self.start_daemon()
        found = self.doctor("--pid", str(listener.pid), status=0)
        self.assertEqual((found["members"]["linked"], found["process"]["in_sidecar"]), (True, True))
        self.assertEqual(self.place(found)["state"], "in-use")


class Sidecar(Doctor):
    transport, options = "peer", PEER

    @contextlib.contextmanager
    def written(self, offset, data):
        """These bytes are in the page for as long."""
        with open(os.path.join(self.sidecar(), "page"), "r+b", buffering=0) as page:
            before = os.pread(page.fileno(), len(data), offset)
            os.pwrite(page.fileno(), data, offset)
            yield
            os.pwrite(page.fileno(), before, offset)

    def test_in_use(self):
        listener = self.listen(self.path())
        found = self.doctor(status=0)
        place = self.place(found)
        self.assertEqual((place["path"], place["state"], place["members"], place["uid"], place["mode"]),
                         (self.sidecar(), "in-use", 1, os.geteuid(), 0o700))
        self.assertEqual(place["holders"], [{"pid": listener.pid, "uid": os.geteuid(), "command": "pathbusctl", "stopped": False}])
        self.assertEqual(found["members"]["count"], 1)

    def test_stale(self):
        listener = self.listen(self.path())
        listener.send(signal.SIGKILL)
        listener.exit()
        self.assertEqual(self.codes(), {"stale-sidecar": False})
        self.assertFalse(os.path.exists(self.sidecar()))  # since it was opened

    def test_copied(self):
        self.listen(self.path("elsewhere"))
        os.rename(self.sidecar("elsewhere"), self.sidecar())
        self.assertEqual(self.codes(), {"copied-sidecar": False})

    def test_damaged(self):
        listener = self.listen(self.path())
        with self.written(0, b"nonsense"):
            self.assertEqual(self.codes(), {"damaged-sidecar": False})
            listener.close()

    def test_another_version(self):
        self.listen(self.path())
        with self.written(ABI, struct.pack("<I", 4711)):
            self.assertEqual(self.codes(), {"other-version": True})

    def test_closed(self):
        listener = self.listen(self.path())
        listener.stop()
        with self.written(CLOSED, b"\1"):
            self.assertEqual(self.codes(), {"closed-sidecar": False})
        listener.send(signal.SIGCONT)

    def test_empty(self):
        os.mkdir(self.sidecar(), 0o700)
        self.assertEqual(self.codes(), {"empty-sidecar": False})

    def test_mode(self):
        os.mkdir(self.sidecar(), 0o755)
        self.assertEqual(self.codes(), {"sidecar-mode": True})
        os.rmdir(self.sidecar())

    def test_a_file_in_the_way(self):
        with open(self.sidecar(), "w"):
            pass
        self.assertEqual(self.codes(), {"sidecar-in-the-way": True})
        os.unlink(self.sidecar())

    def test_half_left(self):
        """Who leaves has both locks, and stands still."""
        listener = self.listen(self.path())
        listener.send(signal.SIGKILL)
        listener.exit()
        with open(os.path.join(self.sidecar(), "page"), "r+b") as page:
            fcntl.fcntl(page, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 2, 0))
            found = self.doctor("--timeout-ms", "1")
        self.assertEqual(self.codes_of(found), {"half-left-sidecar": True})
        self.assertIn(f"process {os.getpid()} ", found["findings"][0]["what"])
        self.assertEqual(self.place(found)["state"], "being-left")
        self.doctor(status=0)  # and removes it

    @needs_users
    def test_another_users(self):
        os.chmod(self.files, 0o777)
        self.listen(self.path())
        found = self.doctor(**as_other)
        self.assertEqual((self.codes_of(found), self.place(found)["uid"]), ({"foreign-sidecar": True}, 0))

    @needs_users
    def test_another_users_beside_the_daemon_of_all(self):
        os.chmod(self.files, 0o777)
        self.options = []
        self.start_system_daemon()
        self.listen_as(OTHER, *PEER)
        self.assertEqual(self.codes(), {"unlinked": True})
        self.listen_as(OTHER)  # so that the daemon joins the two
        self.assertEqual(self.codes(), {"foreign-sidecar": False})

    def listen_as(self, uid, *words):
        process = self.start([ctl.CTL, *ctl.PATIENT, *words, "listen", self.path()], user=uid, group=uid, extra_groups=[])
        self.assertRegex(process.err.line(), rb"\Alistening on ")
        return process

    @needs_users
    def test_the_folder_takes_none(self):
        found = self.doctor(**as_other)
        self.assertEqual(self.codes_of(found), {"no-sidecar": False, "may-not-post": False})
        self.assertTrue(found["transport"]["in_runtime_folder"])

    @needs_users
    def test_the_runtime_folder_is_somebody_elses(self):
        os.mkdir(f"/dev/shm/pathbus-{OTHER}", 0o700)
        self.assertEqual(self.codes(**as_other), {"runtime-folder": True})

    @needs_mounts
    def test_what_logging_out_takes(self):
        def systemd(setting):
            def prepare():
                os.makedirs("/run/systemd/system")
                os.makedirs("/run/systemd/seats")
                os.makedirs("/run/systemd/logind.conf.d")
                for name, text in [("20-no.conf", "[Login]\nRemoveIPC=no\n"), ("30-last.conf", setting)]:
                    with open("/run/systemd/logind.conf.d/" + name, "w") as file:
                        file.write(text)
            return apart(("none", "/run", "tmpfs"), prepare, uid=OTHER)
        os.chmod(self.folder, 0o755)
        self.assertEqual(self.codes(**systemd("[Login]\n RemoveIPC = yes \n")),
                         {"remove-ipc": True, "no-sidecar": False, "may-not-post": False})
        for setting in ["", "[Login]\nRemoveIPC=no", "[Other]\nRemoveIPC=yes", "[Login]\n#RemoveIPC=yes"]:
            self.assertNotIn("remove-ipc", self.codes(**systemd(setting)), setting)

    def test_old_pipes(self):
        self.env["LD_PRELOAD"] = os.environ["PATHBUS_OLD_PIPES"]
        self.env["ASAN_OPTIONS"] = self.env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        self.assertEqual(self.codes(), {"old-pipes": False})


class Rights(Doctor):
    @needs_users
    def test_of_the_file(self):
        os.chmod(self.files, 0o777)
        self.make(mode=0o600)
        found = self.doctor(*PEER, **as_other)
        self.assertEqual(self.codes_of(found), {"may-not-read": True})
        self.assertEqual((found["rights"]["subscribe"], found["rights"]["post"], found["rights"]["uid"]), (False, False, OTHER))
        os.chmod(self.path(), 0o444)
        self.assertEqual(self.codes(*PEER, **as_other), {"may-not-post": False})

    @needs_users
    def test_of_the_configuration(self):
        self.make(mode=0o666)
        with open(os.path.join(self.folder, "conf"), "w") as conf:
            conf.write(f"[rights]\nsubscribe = {self.files}/** : nobody\n")
        self.start_system_daemon("--config", os.path.join(self.folder, "conf"))
        found = self.doctor(**as_other)
        self.assertEqual((self.codes_of(found), found["rights"]["file_may_be_read"]), ({"rights-narrowed": True}, True))


class Process(Doctor):
    def sleeper(self, **options):
        process = self.start(["sleep", "1000"], **options)
        ctl.wait_until("it runs", lambda: self.comm(process) == "sleep")
        return process

    def comm(self, process):
        with open(f"/proc/{process.pid}/comm") as file:
            return file.read().strip()

    def about(self, process, *words, **options):
        return self.codes_of(self.doctor("--pid", str(process.pid), *words, **options))

    def test_it_hears(self):
        for transport in ["peer", "bus"]:
            self.options = []
            if transport == "bus":
                self.start_daemon()
            self.transport, self.options = transport, ["--transport", transport]
            listener = self.listen(self.path())
            found = self.doctor("--pid", str(listener.pid), status=0)
            self.assertEqual((found["findings"], found["process"]["member"], found["process"]["subscribes"]), ([], True, True))
            self.assertEqual((found["process"]["command"], found["process"]["uid"]), ("pathbusctl", os.geteuid()))
            listener.close()

    def test_there_is_none(self):
        process = self.sleeper()
        process.close()
        self.assertEqual(self.about(process, *PEER), {"no-process": True})

    def test_it_has_it_not_open(self):
        self.transport, self.options = "peer", PEER
        found = self.doctor("--pid", str(self.sleeper().pid))
        self.assertEqual((self.codes_of(found), found["process"]["uses_pathbus"]), ({"not-open": True}, False))
        listener = self.listen(self.path("another"))
        found = self.doctor("--pid", str(listener.pid))
        self.assertEqual((self.codes_of(found), found["process"]["uses_pathbus"]), ({"not-open": True}, True))

    def test_it_is_stopped(self):
        self.transport, self.options = "peer", PEER
        listener = self.listen(self.path())
        listener.stop()
        self.assertEqual(self.about(listener), {"stopped": True})

    def test_it_only_posts(self):
        self.start_daemon()
        poster = self.start([os.environ["PATHBUS_HELPER"], "poster", self.path(), "1"])
        self.assertEqual(poster.out.line(), b"open")
        self.assertEqual(self.about(poster), {"only-posts": True})

    def test_another_name_of_the_file(self):
        self.transport, self.options = "peer", PEER
        self.make()
        os.link(self.path(), self.path("other"))
        listener = self.listen(self.path("other"))
        found = self.doctor("--pid", str(listener.pid))
        self.assertEqual(self.codes_of(found), {"hard-links": True, "other-name": True})
        self.assertIn(os.fsdecode(self.path("other")), json.dumps(found["findings"]))

    @needs_users
    def test_another_user(self):
        self.make()
        sleeper = self.sleeper(**as_other)
        self.assertEqual(self.about(sleeper, *PEER), {"other-user": True})
        self.start_system_daemon()
        sleeper = self.sleeper(**as_other)
        self.assertEqual(self.about(sleeper), {"not-open": True})  # which is its own affair
        os.chmod(self.path(), 0o600)
        self.assertEqual(self.about(sleeper), {"process-may-not-read": True})

    @needs_users
    def test_what_may_not_be_looked_into(self):
        os.chmod(self.files, 0o777)
        sleeper = self.sleeper()
        self.assertEqual(self.about(sleeper, *PEER, **as_other), {"other-user": True, "not-all-seen": False})

    def test_another_address(self):
        self.start_daemon()
        elsewhere = self.sleeper()
        self.env["PATHBUS_ADDRESS"] = self.socket + "2"
        self.assertEqual(self.about(elsewhere, "--address", self.socket), {"not-open": True})
        elsewhere = self.sleeper()
        self.assertEqual(self.about(elsewhere, "--address", self.socket), {"other-address": True})
        del self.env["PATHBUS_ADDRESS"]
        elsewhere = self.sleeper()
        self.assertEqual(self.about(elsewhere, "--address", self.socket), {"other-address": True})

    def test_it_is_on_a_daemon_and_we_are_not(self):
        self.start_daemon()
        self.transport = "bus"
        listener = self.listen(self.path())
        self.assertEqual(self.about(listener, *PEER), {})  # the daemon joins what it finds
        self.assertEqual(self.about(listener, *PEER, path=self.path("another")), {"not-open": True})
        self.env["PATHBUS_ADDRESS"] = ""
        self.assertEqual(self.about(listener, *PEER), {})

    @needs_users
    def test_it_is_on_the_daemon_of_its_user(self):
        """At the place where that is looked for."""
        os.chmod(self.files, 0o777)
        del self.env["PATHBUS_ADDRESS"]
        self.pathbusd = subprocess.Popen([ctl.DAEMON], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL, **as_other)
        ctl.wait_until("the daemon answers", lambda: self.call("ping", **as_other).returncode == 0)
        listener = self.start([ctl.CTL, *ctl.PATIENT, "listen", self.path()], **as_other)
        self.assertRegex(listener.err.line(), rb"\(bus\)\Z")
        self.assertEqual(self.about(listener, **as_other), {})
        self.assertEqual(self.about(listener, *PEER, **as_other), {})

    @needs_mounts
    def test_another_folder_in_its_place(self):
        sleeper = self.sleeper(**apart(("none", self.files, "tmpfs")))
        found = self.doctor(*PEER, "--pid", str(sleeper.pid))
        self.assertEqual((self.codes_of(found), found["process"]["namespaces"]), ({"other-key": True}, "mnt"))
        self.assertIs(found["process"]["same_key"], False)

    @needs_mounts
    def test_the_same_folder_mounted(self):
        os.mkdir(self.path("twin"))
        sleeper = self.sleeper(**apart((self.path("twin"), self.path("twin"), None, MS_BIND)))
        self.assertEqual(self.about(sleeper, *PEER, path=self.path("twin/x")), {"not-open": True})

    @needs_mounts
    def test_not_there(self):
        sleeper = self.sleeper(**apart(("none", self.folder, "tmpfs")))
        self.assertEqual(self.about(sleeper, *PEER), {"not-in-its-root": True})

    @needs_mounts
    def test_the_file_alone_is_mounted_there(self):
        self.make()
        kept = os.path.join(self.folder, "kept")
        with open(kept, "w"):
            pass

        def touch():
            with open(self.path(), "w"):
                pass
        sleeper = self.sleeper(**apart((self.path(), kept, None, MS_BIND), ("none", self.files, "tmpfs"), touch,
                                       (kept, self.path(), None, MS_BIND)))
        self.assertEqual(self.about(sleeper, *PEER), {"same-file-other-folder": True})

    @needs_mounts
    def test_the_socket_is_not_there(self):
        place = os.path.join(self.folder, "place")
        os.mkdir(place)
        self.socket = os.path.join(place, "socket")
        self.env["PATHBUS_ADDRESS"] = self.socket
        self.start_daemon()
        sleeper = self.sleeper(**apart(("none", place, "tmpfs")))
        self.assertEqual(self.about(sleeper), {"socket-not-there": True})

    @needs_mounts
    def test_another_shm(self):
        sleeper = self.sleeper(**apart(("none", "/dev/shm", "tmpfs"), uid=OTHER))
        found = self.about(sleeper, *PEER, **as_other)
        self.assertEqual({code for code, problem in found.items() if problem}, {"other-shm"})


class Zoo(Doctor):
    """The last: what has been found, is documented, and the other way round."""

    @needs_mounts
    def test_all_are_documented_and_tested(self):
        with open(os.environ["PATHBUS_MAN"], encoding="utf-8") as file:
            part = file.read().split("\n.Ss doctor\n")[1].split("\n.Ss ")[0]
        documented = {}
        for words, text in re.findall(r"^\.It Sy (.*)\n((?:[^.].*\n|\.[^I].*\n)*)", part, re.MULTILINE):
            for code in words.split(" , "):
                documented[code] = text
        self.assertEqual({code for code, _ in self.seen}, set(documented))
        for code, problem in self.seen:
            self.assertTrue(problem or "note" in documented[code].lower(), code)

    def test_usage(self):
        for words in [[], [self.path(), self.path()], ["--pid", "0", self.path()], ["--pid", "x", self.path()]]:
            self.expect(2, "doctor", *words)

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            self.assertIn(b"output", self.expect(1, "doctor", self.path(), stdout=full).stderr)


if __name__ == "__main__":
    ctl.main()
