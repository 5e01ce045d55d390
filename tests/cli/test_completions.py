#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The completions are what --help says, and bash, zsh and fish, where they are there, complete by them."""

import fcntl
import functools
import os
import pathlib
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios

import ctl
from test_docs import options_of_help

SOURCES = pathlib.Path(os.environ["PATHBUS_MAN"]).parents[1]
FOLDER = SOURCES / "completions"

# (line, what is offered); FILES: the file in the folder where the shell runs. The last word is what is being completed.
FILES = ["some-file"]
SORT_CLIENTS = ["age", "command", "id", "pid", "queued", "requests", "topics", "user"]
LINES = [
    ("pathbusctl mon", ["monitor"]),
    ("pathbusctl sta", ["state", "stats"]),
    ("pathbusctl state ", ["cas", "get", "set"]),
    ("pathbusctl state s", ["set"]),
    ("pathbusctl --transport ", ["auto", "bus", "peer", "socket"]),
    ("pathbusctl --transport p", ["peer"]),
    ("pathbusctl --transport peer sta", ["state", "stats"]),
    ("pathbusctl --address x --timeout-ms 5 sta", ["state", "stats"]),
    ("pathbusctl --address so", FILES),
    ("pathbusctl ping so", []),
    ("pathbusctl ping --ver", ["--version"]),
    ("pathbusctl post so", FILES),
    ("pathbusctl post x y so", FILES),
    ("pathbusctl post -- so", FILES),
    ("pathbusctl post -- --", []),
    ("pathbusctl post -m so", []),
    ("pathbusctl post -m text so", FILES),
    ("pathbusctl post --key k --no", []),
    ("pathbusctl state get so", FILES),
    ("pathbusctl state get x so", []),
    ("pathbusctl clients --sort ", SORT_CLIENTS),
    ("pathbusctl clients --sort t", ["topics"]),
    ("pathbusctl topics --rev", ["--reverse"]),
    ("pathbusctl log-level ", ["debug", "error", "info", "warning"]),
    ("pathbusctl log-level info ", []),
    ("pathbusctl lock run so", FILES),
    ("pathbusctl lock run x so", []),
    ("pathbusctl lock run x y -- some-com", ["some-command"]),
    ("pathbusctl who --transport=p", ["peer"]),
]


@functools.cache
def help_of(*words):
    return subprocess.run([ctl.CTL, *words, "--help"], check=True, capture_output=True, text=True).stdout


class Shell(ctl.Case):
    """`complete(line)` is what a shell offers, as a list of words."""

    def setUp(self):
        super().setUp()
        program = shutil.which(self.program) if self.program else None
        if self.program and not program:
            self.skipTest(f"no {self.program} is there")
        for name in FILES:
            with open(os.path.join(self.files, name), "w"):
                pass
        programs = os.path.join(self.folder, "bin")
        os.mkdir(programs)
        os.symlink(ctl.CTL, os.path.join(programs, "pathbusctl"))
        os.symlink("/bin/true", os.path.join(programs, "some-command"))
        self.env = {"PATH": programs + ":/usr/bin:/bin", "HOME": self.folder, "TERM": "dumb", "LC_ALL": "C.UTF-8"}

    def check_lines(self):
        for line, expected in LINES:
            with self.subTest(line=line):
                self.assertEqual(sorted(self.complete(line)), expected)

    def check_options(self):
        """Of each command, in full, and the commands: against --help."""
        def spellings(text):
            return sorted(name for letter, long, _ in options_of_help(text) for name in [f"-{letter}", f"--{long}"] if name != "-")

        text = help_of()
        names = [line[2:].split("  ")[0].split(" FILE")[0] for line in text.split("\nOptions")[0].splitlines() if
                 line.startswith("  ")]
        self.assertIn("endpoint connect", names)
        self.assertGreater(len(names), 20)
        self.assertEqual(sorted(self.complete("pathbusctl ")), sorted({name.split()[0] for name in names}))
        for name in ["", *names]:
            offered = self.complete(f"pathbusctl {name}{' ' if name else ''}-")
            expected = spellings(help_of(*name.split()))
            if self.program == "fish":  # a letter is offered as one with its long name
                expected, offered = ([word for word in words if word.startswith("--")] for words in (expected, offered))
            self.assertEqual(sorted(offered), expected, name)


class Files(Shell):
    program = None

    def test_they_are_what_the_help_says(self):
        made = os.path.join(self.folder, "made")
        os.mkdir(made)
        subprocess.run([sys.executable, SOURCES / "scripts/completions", ctl.CTL, made], check=True)
        for name in ["pathbusctl", "_pathbusctl", "pathbusctl.fish"]:
            self.assertEqual((FOLDER / name).read_text(), (pathlib.Path(made) / name).read_text(),
                             f"completions/{name} is not up to date: run scripts/completions PATHBUSCTL")


class Bash(Shell):
    program = "bash"

    def complete(self, line):
        # What readline does: it splits at blanks and at "=".
        script = r"""
			compopt() { COMPREPLY=($(compgen -f -- "$cur")); }
			source "$1"; shift
			COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
			_pathbusctl
			printf '%s\n' "${COMPREPLY[@]}"
		"""
        words = line.replace("=", " = ").split(" ")
        out = subprocess.run(["bash", "--norc", "-uc", script, "bash", FOLDER / "pathbusctl", *words], env=self.env, cwd=self.files,
                             capture_output=True, text=True)
        self.assertEqual(out.stderr, "")
        return out.stdout.split()

    def test_lines(self):
        self.check_lines()
        self.assertEqual(self.complete("pathbusctl monitor --kind post,me"), ["post,member-joined", "post,member-left", "post,message"])

    def test_options(self):
        self.check_options()

    def test_in_a_terminal(self):
        master, slave = pty.openpty()
        shell = subprocess.Popen(["bash", "--norc", "--noprofile", "-i"], env=self.env, stdin=slave, stdout=slave, stderr=slave,
                                 cwd=self.files, start_new_session=True)
        os.close(slave)
        self.addCleanup(os.close, master)
        self.addCleanup(shell.wait)
        self.addCleanup(shell.kill)
        os.write(master, f"PS1=; bind 'set bell-style none'; source {FOLDER}/pathbusctl; pathbusctl() {{ printf '<%s>' \"$@\"; }}; "
                         "echo rea''dy\n".encode())
        self.read_until(master, b"ready\r\n")
        os.write(master, b"pathbusctl topi\t--filter=som\tpos\t\n")
        self.read_until(master, b"<topics><--filter=sompos>")
        os.write(master, b"pathbusctl post --addr\tsom\tsom\t\n")
        self.read_until(master, b"<post><--address><some-file><some-file>")

    def read_until(self, terminal, text):
        out = b""
        while text not in out:
            self.assertTrue(select.select([terminal], [], [], ctl.LIMIT_S)[0], out)
            out += os.read(terminal, 4096)


class Fish(Shell):
    program = "fish"

    def complete(self, line):
        out = subprocess.run(["fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", FOLDER / "pathbusctl.fish", line],
                             env=self.env, cwd=self.files, capture_output=True, text=True)
        self.assertEqual(out.stderr, "")
        # After "--name=" fish offers the whole word.
        return [word.split("\t")[0].split("=")[-1] for word in out.stdout.splitlines()]

    def test_lines(self):
        self.check_lines()
        self.assertEqual(self.complete("pathbusctl monitor --kind post,mes"), ["post,message"])

    def test_options(self):
        self.check_options()


class Zsh(Shell):
    program = "zsh"

    def setUp(self):
        super().setUp()
        self.offers = os.path.join(self.folder, "offers")
        os.mkfifo(self.offers)
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 1000, 200, 0, 0))  # where it fits, it asks nothing
        shell = subprocess.Popen(["zsh", "-f", "-i"], env=self.env, stdin=slave, stdout=slave, stderr=slave, cwd=self.files,
                                 start_new_session=True)
        os.close(slave)
        self.pipe = os.open(self.offers, os.O_RDWR)
        self.addCleanup(os.close, self.master)
        self.addCleanup(os.close, self.pipe)
        self.addCleanup(shell.wait)
        self.addCleanup(shell.kill)
        rc = os.path.join(self.folder, "rc")
        with open(rc, "w") as out:
            out.write(rf"""
				PROMPT= RPROMPT= LISTMAX=0
				unsetopt beep prompt_cr zle_bracketed_paste 2>/dev/null
				unset zle_bracketed_paste
				fpath=({FOLDER} $fpath)
				autoload -Uz compinit && compinit -u -d {self.folder}/dump
				compadd() {{
					if [[ ${{@[1,(i)(-|--)]}} == *-(O|A|D)\ * ]]; then
						builtin compadd "$@"
						return
					fi
					local -a offered
					builtin compadd -O offered "$@"
					print -rl -- $offered >>{self.offers}
					builtin compadd "$@"
				}}
				tell() {{
					zle list-choices
					print -r -- '(end)' >>{self.offers}
					zle kill-whole-line
				}}
				zle -N tell
				bindkey '^I' tell
				print -r -- '(end)' >>{self.offers}
			""")
        os.write(self.master, f"source {rc}\n".encode())
        self.offered()

    def offered(self):
        out = b""
        while not out.endswith(b"(end)\n"):
            ready, _, _ = select.select([self.pipe, self.master], [], [], ctl.LIMIT_S)
            self.assertTrue(ready, out)
            if self.master in ready:  # what the terminal shows must be taken
                os.read(self.master, 65536)
            if self.pipe in ready:
                out += os.read(self.pipe, 65536)
        return [line for line in out.decode().splitlines()[:-1] if line]

    def complete(self, line):
        os.write(self.master, line.encode() + b"\t")
        return self.offered()

    def test_lines(self):
        self.check_lines()
        self.assertEqual(self.complete("pathbusctl monitor --kind post,mes"), ["message"])
        self.check_options()


if __name__ == "__main__":
    ctl.main()
