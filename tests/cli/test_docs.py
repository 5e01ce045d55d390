#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The help and the man page name the same commands, options and exit statuses."""

import os
import re
import shutil
import subprocess

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
        names = re.findall(r"^  ([a-z]+(?: [a-z]+)?) ", self.help().split("Options")[0], re.MULTILINE)
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


if __name__ == "__main__":
    ctl.main()
