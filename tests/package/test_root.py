#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The packages in a clean root: Debian's essential packages, what ours depend on, and nothing else. In it the demo runs from the
installed files, all users are served, what the admin has written is kept, and nothing is left after a purge."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import packages

INSIDE = """
set -eu
fail() { echo "$*"; exit 1; }
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/root TERM=dumb
"""

# There is no mount(8) inside.
OUTSIDE = """
set -eu
mount -t proc proc "$1/proc"
for folder in tmp dev/shm; do
	mount -t tmpfs -o mode=1777 tmpfs "$1/$folder"
done
exec chroot "$1" /bin/sh -c "$2"
"""

DEMO = INSIDE + """
[ "$(pathbusd --version)" = "pathbusd $VERSION" ]
cd /
/demo/demo --installed /demo
"""

ALL_USERS = INSIDE + """
getent passwd pathbus >/dev/null || fail "there is no user pathbus"
pathbusd --system --check-config
pathbusd --system 2>/tmp/log &
daemon=$!
tries=500
until pathbusctl ping >/tmp/ping 2>&1; do
	tries=$((tries - 1))
	[ $tries -gt 0 ] || fail "the daemon does not answer: $(cat /tmp/ping /tmp/log)"
	sleep 0.02
done
grep -q /run/pathbus/socket /tmp/ping || fail "$(cat /tmp/ping)"
touch /srv/file && chmod 666 /srv/file
# What speaks to clients has given up root, whatever the first process is.
ls -n /run/pathbus/socket >/dev/null
for status in /proc/[0-9]*/status; do
	awk '/^Name:/ { name = $2 } /^Uid:/ { uid = $3 } END { if (name == "pathbusd") print uid }' $status 2>/dev/null
done | grep -qx "$(id -u pathbus)" || fail "no process of the daemon is pathbus's"
# From one user to another.
setpriv --reuid 4711 --regid 4711 --clear-groups pathbusctl listen --raw --newline --count 1 /srv/file >/tmp/heard &
listener=$!
tries=500
until pathbusctl who /srv/file 2>/dev/null | grep -q 4711; do
	tries=$((tries - 1))
	[ $tries -gt 0 ] || fail "the listener is not there: $(pathbusctl who /srv/file 2>&1)"
	sleep 0.02
done
setpriv --reuid 4712 --regid 4712 --clear-groups pathbusctl post -m hello /srv/file
wait $listener || fail "the listener failed"
[ "$(cat /tmp/heard)" = hello ] || fail "it heard $(cat /tmp/heard)"
kill $daemon
wait $daemon || fail "the daemon did not end in good order: $(cat /tmp/log)"
"""

# Upgraded to the same, removed, and purged.
LIFE = INSIDE + """
export DEBIAN_FRONTEND=noninteractive
quietly() { "$@" >/tmp/out 2>&1 || fail "$*: $(cat /tmp/out)"; }
UNITS=$(dpkg -L pathbusd | grep '/systemd/system/.*\\.socket$' || true)
for unit in $UNITS; do
	[ -L /etc/systemd/system/sockets.target.wants/${unit##*/} ] || fail "${unit##*/} is not enabled"
done
echo '# an admin was here' >>/etc/pathbus/pathbusd.conf
quietly dpkg --install /packages/*.deb
grep -q 'an admin was here' /etc/pathbus/pathbusd.conf || fail "the admin's configuration is gone"
[ -z "$(dpkg --audit)" ] || fail "$(dpkg --audit)"
quietly dpkg --remove libpathbus-dev pathbus-tools libpathbus0 pathbusd
[ -e /etc/pathbus/pathbusd.conf ] || fail "removing has taken the configuration"
[ ! -e /usr/bin/pathbusd ] || fail "it is not removed"
quietly dpkg --purge libpathbus-dev pathbus-tools libpathbus0 pathbusd
find / -xdev \\( -path /packages -o -path /demo -o -path /proc \\) -prune -o -name '*pathbus*' -print >/tmp/left
# Its sockets were in there, and it was no package that made it.
grep -vx /run/pathbus /tmp/left >/tmp/more || true
[ ! -s /tmp/more ] || fail "left behind: $(cat /tmp/more)"
! dpkg -l | grep pathbus || fail "dpkg knows it still"
"""


def suite():
    """Whose packages ours are linked with: this machine's."""
    release = dict(line.split("=", 1) for line in pathlib.Path("/etc/os-release").read_text().splitlines() if "=" in line)
    if release.get("ID") != "debian" or "VERSION_CODENAME" not in release:
        raise unittest.SkipTest(f"the clean root is Debian's, and this is {release.get('ID')}")
    return release["VERSION_CODENAME"].strip('"')


class Root(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("a root is made by root")
        if not shutil.which("mmdebstrap"):
            raise unittest.SkipTest("mmdebstrap is not there")
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="pathbus-test."))
        cls.addClassCleanup(shutil.rmtree, cls.work)
        cls.files = packages.found()
        cls.root = cls.work / "root"
        cls.make_root()
        cls.make_demo()
        (cls.root / "packages").mkdir()
        for file in cls.files.values():
            shutil.copy(file, cls.root / "packages")

    @classmethod
    def make_root(cls):
        # In a mount namespace, so that what it mounts does not stay if it fails.
        command = ["unshare", "--mount", "mmdebstrap", "--variant=essential", "--mode=root", "--format=directory", "--dpkgopt=force-unsafe-io",
                   "--hook-dir=/usr/share/mmdebstrap/hooks/file-mirror-automount",
                   *[f"--include={file}" for file in cls.files.values()], "--include=sqlite3", suite(), cls.root]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            said = result.stdout + result.stderr
            away = re.search(r".*(Failed to fetch|Unable to (fetch|connect)|Could not (resolve|connect)|Temporary failure).*", said)
            if away or "downloading packages" not in said:
                raise unittest.SkipTest(f"Debian's mirror does not answer: {(away[0] if away else said).strip()}")
            raise AssertionError(f"{command}: {result.returncode}\n{said}")
        # Where they could not be mounted they were copied, with the folders they are in.
        for file in cls.files.values():
            copy = cls.root / str(file).lstrip("/")
            copy.unlink(missing_ok=True)
            for folder in copy.parents:
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    continue
                except OSError:
                    break
        (cls.root / "tmp").mkdir(exist_ok=True)  # it may have been one of them

    @classmethod
    def make_demo(cls):
        """The demo's own two programs, built with what the packages have: there is no compiler in the root."""
        demo, dev = cls.root / "demo", cls.work / "dev"
        demo.mkdir()
        for name in ("libpathbus-dev", "libpathbus0"):
            subprocess.run(["dpkg-deb", "-x", cls.files[name], dev], check=True)
        found = next(dev.glob("usr/lib/*/pkgconfig"))
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "pathbus", "sqlite3"], check=True, capture_output=True, text=True,
                               env={**os.environ, "PKG_CONFIG_PATH": str(found)}).stdout.split()
        for program in ("demo-listener", "demo-post"):
            subprocess.run(["cc", "-o", demo / program, packages.SOURCES / f"examples/{program}.c", *flags], check=True)
        shutil.copy(packages.SOURCES / "scripts/demo", demo / "demo")

    def inside(self, script):
        """In process and mount namespaces of its own, so that nothing of it stays."""
        command = ["unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child",
                   "/bin/sh", "-c", OUTSIDE, "sh", self.root, script]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "VERSION": packages.VERSION})
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return result.stdout

    def test_1_the_demo(self):
        said = self.inside(DEMO)
        self.assertIn('read "figs"', said)
        self.assertIn("nothing left behind", said)

    def test_2_all_users(self):
        self.inside(ALL_USERS)

    def test_3_upgraded_removed_purged(self):
        self.inside(LIFE)


if __name__ == "__main__":
    packages.main()
