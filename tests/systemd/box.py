# SPDX-License-Identifier: MIT
"""A real systemd, as process 1 of namespaces of its own, over a throw-away copy of this machine's root folder.

What is written inside is in memory and gone afterwards; the network is empty, /proc/sys and /sys are read-only, and its control
groups are below one that is removed. A keeper, a process of its own, ends all of it when the process that made the box ends,
however that happens; and if the keeper is killed too, the kernel ends process 1, and the next box removes the group.
"""

import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

LIMIT_S = 60
SYSTEMD = ("/lib/systemd/systemd", "/usr/lib/systemd/systemd")
PREFIX = "pathbus-box-"
READY = "run/box-is-up"

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE, MS_SHARED = 0x4000, 1 << 18, 1 << 20
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x20000, 0x2000000, 0x4000000
CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x8000000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG, MNT_DETACH = 1, 2

# What takes time there, or needs a machine.
MASKED = (
    "systemd-tmpfiles-setup.service", "systemd-tmpfiles-setup-dev.service", "systemd-sysusers.service", "systemd-remount-fs.service",
    "systemd-modules-load.service", "systemd-update-utmp.service", "systemd-journal-flush.service", "systemd-hwdb-update.service",
    "systemd-binfmt.service", "systemd-udevd.service", "systemd-udev-trigger.service", "systemd-random-seed.service", "systemd-sysctl.service",
    "systemd-tmpfiles-clean.timer", "systemd-machine-id-commit.service", "systemd-firstboot.service", "ldconfig.service",
    "systemd-ask-password-wall.path", "systemd-ask-password-console.path", "systemd-networkd.service", "systemd-timesyncd.service",
    "systemd-resolved.service", "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
    "sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "proc-sys-fs-binfmt_misc.automount", "apparmor.service",
    "keyboard-setup.service", "console-setup.service", "kmod-static-nodes.service", "networking.service", "systemd-pstore.service",
)

libc = ctypes.CDLL(None, use_errno=True)


class Impossible(Exception):
    """There can be no box here; the text says why."""


def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


def mount(source, target, kind, flags=0, data=None):
    call("mount", os.fsencode(source), os.fsencode(target), kind and kind.encode(), ctypes.c_ulong(flags), data and data.encode())


# --- control groups -------------------------------------------------------------------------------------------------


def cgroup_root():
    """Where control groups of version 2 are, or None."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2" and "rw" in fields[5].split(","):
            return pathlib.Path(fields[4])
    return None


def remove_cgroup(group):
    """With all below it. Returns whether it is gone."""
    with contextlib.suppress(OSError):
        (group / "cgroup.kill").write_text("1")
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    return not group.exists()


def work_folder(keeper):
    return pathlib.Path(tempfile.gettempdir()) / f"{PREFIX}{keeper}"


def remove_left_overs(root):
    """Of boxes whose keepers were killed."""
    for group in root.glob(f"{PREFIX}*"):
        keeper = group.name[len(PREFIX):]
        if keeper.isdigit() and not os.path.exists(f"/proc/{keeper}"):
            remove_cgroup(group)
            with contextlib.suppress(OSError):
                work_folder(keeper).rmdir()


# --- inside, before systemd -----------------------------------------------------------------------------------------


def make_devices(root):
    mount("tmpfs", root / "dev", "tmpfs", MS_NOSUID, "mode=755")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        (root / "dev" / name).touch()
        mount(f"/dev/{name}", root / "dev" / name, None, MS_BIND)
    for name in ("pts", "shm"):
        (root / "dev" / name).mkdir()
    mount("devpts", root / "dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=620,gid=5")
    mount("tmpfs", root / "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    for name, target in (("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (root / "dev" / name).symlink_to(target)


def make_root(work):
    """The machine's root folder, with a layer in memory over it."""
    mount("tmpfs", work, "tmpfs", 0, "mode=755")
    for name in ("upper", "work", "root"):
        (work / name).mkdir()
    root = work / "root"
    mount("overlay", root, "overlay", 0, f"lowerdir=/,upperdir={work}/upper,workdir={work}/work")
    for name in ("proc", "sys", "dev", "run", "tmp", "var/tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    mount("proc", root / "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for name in ("sys", "sysrq-trigger", "irq", "bus"):
        path = root / "proc" / name
        if path.exists():
            mount(path, path, None, MS_BIND)
            mount("none", path, None, MS_BIND | MS_REMOUNT | MS_RDONLY)
    mount("sysfs", root / "sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("cgroup2", root / "sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    make_devices(root)
    mount("tmpfs", root / "run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for name in ("tmp", "var/tmp"):
        mount("tmpfs", root / name, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    return root


def replace(path, text):
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    path.write_text(text)


def make_units(root, wanted):
    """A target with what is wanted and nothing that this machine has enabled."""
    for folder in (root / "etc/systemd/system").glob("*.wants"):
        shutil.rmtree(folder)
    replace(root / "etc/machine-id", os.urandom(16).hex() + "\n")
    units = root / "run/systemd/system"
    units.mkdir(parents=True)
    for name in MASKED:
        (units / name).symlink_to("/dev/null")
    (units / "box.target").write_text(f"[Unit]\nRequires=basic.target box-up.service\nWants={' '.join(wanted)}\nAfter=basic.target\n")
    (units / "box-up.service").write_text(
        f"[Unit]\nAfter=basic.target {' '.join(wanted)}\n[Service]\nType=oneshot\nExecStart=/bin/touch /{READY}\n")


def become_process_one(work, systemd, prepare, wanted):
    """In process 1 of the new namespace of processes. Does not return."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        call("unshare", CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET)
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        root = make_root(work)
    except OSError as error:
        raise Impossible(f"no namespaces with mounts of their own can be made: {error}") from error
    make_units(root, wanted)
    prepare(root)
    (root / ".old").mkdir()
    os.chdir(root)
    call("pivot_root", b".", b".old")
    os.chroot(".")
    call("umount2", b"/.old", MNT_DETACH)
    os.rmdir("/.old")
    mount("none", "/", None, MS_REC | MS_SHARED)
    for number in range(1, signal.NSIG):
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execve(systemd, [systemd, "--log-target=journal", "--unit=box.target"],
              {"container": "pathbus-box", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})


# --- outside --------------------------------------------------------------------------------------------------------


class Box:
    """Up when it is made; gone after close, or with this process."""

    def __init__(self, prepare=lambda root: None, wanted=()):
        self.systemd = next((path for path in SYSTEMD if os.path.exists(path)), None)
        self.groups = cgroup_root()
        if os.getuid() != 0:
            raise Impossible("needs root")
        if not self.systemd:
            raise Impossible("there is no systemd")
        if not self.groups:
            raise Impossible("needs control groups of version 2, mounted for writing")
        if not shutil.which("nsenter"):
            raise Impossible("there is no nsenter")
        remove_left_overs(self.groups)
        self.prepare, self.wanted = prepare, wanted
        self.log = tempfile.TemporaryFile()
        inside, self.lifeline = os.pipe()
        self.news, outside = os.pipe()
        self.keeper = os.fork()
        if self.keeper == 0:
            os.close(self.lifeline)
            os.close(self.news)
            self.keep(inside, outside)
        os.close(inside)
        os.close(outside)
        try:
            self.wait_until_up()
        except BaseException:
            self.close()
            raise

    # In the keeper: it does not return.
    def keep(self, lifeline, news):
        status = 1
        group, work = self.groups / f"{PREFIX}{os.getpid()}", work_folder(os.getpid())
        try:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            try:
                work.mkdir(mode=0o700)
                group.mkdir()
                call("unshare", CLONE_NEWPID)
            except OSError as error:
                raise Impossible(f"no control group or namespace can be made: {error}") from error
            self.guard(self.start(group, work, lifeline, news), lifeline, news)
            status = 0
        except Impossible as why:
            os.write(news, f"impossible {why}\n".encode())
        except BaseException:
            os.write(self.log.fileno(), traceback.format_exc().encode())
        finally:
            end = time.monotonic() + LIMIT_S
            while group.exists() and not remove_cgroup(group) and time.monotonic() < end:
                time.sleep(0.01)
            with contextlib.suppress(OSError):
                work.rmdir()
            os._exit(status)

    def start(self, group, work, lifeline, news):
        first = os.fork()
        if first == 0:
            try:
                (group / "cgroup.procs").write_text("0")
                null = os.open("/dev/null", os.O_RDWR)
                for number, fd in enumerate((null, self.log.fileno(), self.log.fileno())):
                    os.dup2(fd, number)
                os.closerange(3, max(lifeline, news, null, self.log.fileno()) + 1)
                become_process_one(work, self.systemd, self.prepare, self.wanted)
            except Impossible as why:
                print(f"impossible: {why}", file=sys.stderr)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(70)
        return first

    def guard(self, first, lifeline, news):
        os.write(news, f"started {first}\n".encode())
        os.close(news)
        ended = False
        while not ended:
            ended = os.read(lifeline, 1) == b""
        with contextlib.suppress(ProcessLookupError):
            os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)

    def wait_until_up(self):
        with os.fdopen(self.news) as news:
            word, _, rest = news.readline().partition(" ")
        if word == "impossible":
            raise Impossible(rest.strip())
        assert word == "started", f"no process 1:\n{self.said()}"
        self.first = int(rest)
        end = time.monotonic() + LIMIT_S
        while not os.path.exists(f"/proc/{self.first}/root/{READY}"):
            state = pathlib.Path(f"/proc/{self.first}/stat").read_bytes().rpartition(b")")[2].split()[0]
            if state == b"Z" and self.said().startswith("impossible: "):
                raise Impossible(self.said().partition(": ")[2].strip())
            assert state != b"Z", f"process 1 has ended:\n{self.said()}"
            assert time.monotonic() < end, f"systemd is not up:\n{self.said()}"
            time.sleep(0.005)

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def run(self, *command, **keywords):
        """Inside, as root. A CompletedProcess."""
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container": "pathbus-box",
                       **keywords.pop("env", {})}
        return subprocess.run(["nsenter", "-a", "-t", str(self.first), *map(str, command)], env=environment, check=False, **keywords)

    def close(self):
        os.close(self.lifeline)
        os.waitpid(self.keeper, 0)
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
