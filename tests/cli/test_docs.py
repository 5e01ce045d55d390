#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The help and the man page name the same commands, options and exit statuses; and docs/security.md names tests that exist."""

import os
import pathlib
import re
import shutil
import subprocess
import unittest

import ctl

OPTION = re.compile(r"^  (?:-(\w),|   ) --([a-z-]+)(?: ([A-Z]+))? ", re.MULTILINE)


def options_of_help(text):
    """{(letter, name, value)}"""
    return set(OPTION.findall(text))


def options_of_man(text):
    found = set()
    for item in re.findall(r"^\.It (Fl .*)$", text, re.MULTILINE):
        match = re.fullmatch(r"(?:Fl (\w) , )?Fl -([a-z-]+)(?: Ar (\w+))?", item)
        assert match, item
        found.add((match[1] or "", match[2], (match[3] or "").upper()))
    return found


class Docs(ctl.Case):
    def setUp(self):
        super().setUp()
        with open(os.environ["PATHBUS_MAN"], encoding="utf-8") as file:
            self.man = file.read()
        self.commands_man = re.split(r"^\.Ss ", self.man.split("\n.Sh COMMANDS\n")[1].split("\n.Sh ")[0],
                                     flags=re.MULTILINE)[1:]

    def help(self, *words):
        return self.expect(0, *words, "--help").stdout.decode()

    def test_global_options(self):
        general = options_of_man(self.man.split("\n.Sh COMMANDS\n")[0])
        self.assertEqual(options_of_help(self.help()), general)
        self.assertGreaterEqual(len(general), 5)

    def test_commands_and_their_options(self):
        names = re.findall(r"^  ([a-z-]+(?: [a-z]+)?) ", self.help().split("Options")[0], re.MULTILINE)
        self.assertEqual([part.split("\n")[0] for part in self.commands_man], names)
        general = options_of_help(self.help())
        for name, part in zip(names, self.commands_man):
            own = options_of_help(self.help(*name.split()))
            self.assertLessEqual(general, own)
            self.assertEqual(own - general, options_of_man(part), name)

    def test_synopsis_names_the_options(self):
        synopsis = self.man.split("\n.Sh SYNOPSIS\n")[1].split("\n.Sh ")[0]
        for part in re.split(r"^\.Cm ", synopsis, flags=re.MULTILINE)[1:]:
            own = options_of_help(self.help(*part.split("\n")[0].split())) - options_of_help(self.help())
            expected = {letter or "-" + name for letter, name, _ in own}
            self.assertEqual(set(re.findall(r"Fl (\S+)", part)), expected)

    def test_exit_statuses(self):
        of_help = re.findall(r"^  (\d+) +\S", self.help(), re.MULTILINE)
        of_man = re.findall(r"^\.It (\d+)$", self.man, re.MULTILINE)
        self.assertEqual(of_help, of_man)
        self.assertEqual(of_help, ["0", "1", "2", "3", "4", "66", "69", "75", "77", "124", "126", "127"])

    def test_man_page_is_well_formed(self):
        mandoc = shutil.which("mandoc")
        if mandoc:
            command = [mandoc, "-T", "lint", os.environ["PATHBUS_MAN"]]
        elif shutil.which("groff"):
            command = ["groff", "-ww", "-mandoc", "-z", os.environ["PATHBUS_MAN"]]
        else:
            self.skipTest("neither mandoc nor groff is there")
        result = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(result.stdout + result.stderr, "")


class Security(unittest.TestCase):
    """Each promise with the tests that show it; and each test of hostile peers shows one."""

    def setUp(self):
        self.sources = pathlib.Path(os.environ["PATHBUS_MAN"]).parents[1]
        build = pathlib.Path(os.environ["PATHBUSCTL"]).parents[1]
        self.tests = set()
        for listing in build.glob("tests/**/CTestTestfile.cmake"):
            self.tests |= set(re.findall(r"^add_test\(\W*([\w.+-]+)", listing.read_text(), re.MULTILINE))
        self.folders = {test.split(".")[0] for test in self.tests}
        self.named = re.findall(r"`([\w.-]+)`", (self.sources / "docs/security.md").read_text())

    def source_of(self, test):
        folder, name = test.split(".")
        for path in (f"{folder}/{name}.py", f"{folder}/test_{name}.py", f"{folder}/test_{name}.c"):
            if (self.sources / "tests" / path).exists():
                cases = self.sources / "tests" / folder / "cases.py"  # those that run elsewhere, in a box of their own
                return (self.sources / "tests" / path).read_text() + (cases.read_text() if cases.exists() else "")
        return ""

    def test_the_tests_exist(self):
        self.assertIn("cli.docs", self.tests)
        test, n = None, 0
        for name in self.named:
            if "." in name and name.split(".")[0] in self.folders:
                self.assertIn(name, self.tests)
                test = name
            elif name.startswith("test_"):
                self.assertRegex(self.source_of(test), rf"(?m)^ *(def |START_TEST\(){name}\(?", f"{test} has no {name}")
                n += 1
        self.assertGreater(n, 20)

    def test_hostile_peers_are_all_there(self):
        for path in sorted((self.sources / "tests/service").glob("hostile_*.py")):
            for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE):
                self.assertIn(name, self.named, path.name)


if __name__ == "__main__":
    ctl.main()
