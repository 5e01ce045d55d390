#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The manual against what it describes: options, keys with their ranges and defaults, functions with their errors."""

import os
import pathlib
import re
import shutil
import subprocess
import unittest

SOURCES = pathlib.Path(os.environ["PATHBUS_SOURCES"])
PAGES = sorted(SOURCES.glob("docs/*.[1-8]"))


def read(name):
    return (SOURCES / "docs" / name).read_text(encoding="utf-8")


def section(page, title):
    """The text of one .Sh"""
    parts = re.split(r"^\.Sh (.*)$", page, flags=re.MULTILINE)
    return parts[parts.index(title) + 1]


def items(text):
    """[(what stands behind .It, the text up to the next one)]"""
    parts = re.split(r"^\.It (.*)$", text, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2]))


def plain(text):
    """Without macros and line ends, so that sentences can be looked for."""
    text = re.sub(r"^\.[A-Z][a-z] ?", "", text, flags=re.MULTILINE)
    return " ".join(text.replace("\\&", "").split())


class Pages(unittest.TestCase):
    def test_all_are_well_formed(self):
        mandoc = shutil.which("mandoc")
        if not mandoc:
            self.skipTest("mandoc is not there")
        self.assertGreaterEqual(len(PAGES), 4)
        for page in PAGES:
            result = subprocess.run([mandoc, "-T", "lint", page], capture_output=True, text=True)
            # Which other pages this machine has, and knows of, says nothing about these; ours are looked for below.
            wrong = [line for line in (result.stdout + result.stderr).splitlines()
                     if "referenced manual not found" not in line and "mandoc.db" not in line]
            self.assertEqual(wrong, [])

    def test_names_and_references(self):
        """A page is called what it says, and those of ours that it refers to are there."""
        titles = {}
        for page in PAGES:
            text = page.read_text(encoding="utf-8")
            title, number = re.search(r"^\.Dt (\S+) (\d)$", text, re.MULTILINE).groups()
            self.assertEqual(f"{title}.{number}".lower(), page.name.lower())
            for name in re.findall(r"^\.Nm (\S+)", section(text, "NAME"), re.MULTILINE):
                titles.setdefault((name, number), page.name)
        for page in PAGES:
            for name, number in re.findall(r"Xr (pathbus\S*) (\d)", page.read_text(encoding="utf-8")):
                self.assertIn((name, number), titles, page.name)


class Daemon(unittest.TestCase):
    """pathbusd(8) and pathbusd.conf(5)"""

    def setUp(self):
        self.help = subprocess.run([os.environ["PATHBUSD"], "--help"], check=True, capture_output=True,
                                   text=True).stdout
        self.assertIn("\nAlso keys of the configuration:\n", self.help)

    def of_page(self):
        found = []
        for item, _ in items(section(read("pathbusd.8"), "OPTIONS")):
            match = re.fullmatch(r"Fl -([a-z-]+)(?: Ar ([a-z]+))?", item)
            self.assertTrue(match, item)
            found.append((match[1], (match[2] or "").upper()))
        return found

    def test_options(self):
        """All of --help, in its order, and nothing else."""
        self.assertEqual(self.of_page(), re.findall(r"^  --([a-z-]+)(?: ([A-Z]+))?(?:  .*)?$", self.help, re.MULTILINE))

    def keys_of_page(self):
        """{section: {key: (value, text)}}"""
        found = {}
        for part in re.split(r"^\.Ss ", section(read("pathbusd.conf.5"), "DESCRIPTION"), flags=re.MULTILINE)[1:]:
            keys = found.setdefault(re.match(r"\[([a-z]+)(?: [^]]*)?\]", part)[1], {})
            for item, text in items(part):
                key, value = re.fullmatch(r"Cm ([a-z-]+) = Ar (.*)", item).groups()
                self.assertNotIn(key, keys)
                keys[key] = value.split()[0], plain(text)
        return found

    def test_keys(self):
        """All of conf/pathbusd.conf, in its sections, in its order; those with a place of their own are options too."""
        expected, name = {}, None
        for line in (SOURCES / "conf/pathbusd.conf").read_text().splitlines():
            if match := re.match(r'(?:# )?\[([a-z]+)(?: "[^"]*")?\]$', line):
                name = match[1]
                expected[name] = []
            elif match := re.match(r"# ?([a-z-]+) =", line):
                if match[1] not in expected[name]:
                    expected[name].append(match[1])
        expected = {name: keys for name, keys in expected.items() if keys}
        found = {name: list(keys) for name, keys in self.keys_of_page().items()}
        self.assertEqual(found, expected)
        self.assertGreater(sum(map(len, found.values())), 20)

    def test_ranges_and_defaults(self):
        """What --help says of a key its page says word for word."""
        pages = self.keys_of_page()
        del pages["topic"]  # no options
        keys = {key: value for section in pages.values() for key, value in section.items()}
        told = re.findall(r"^  --([a-z-]+) ([A-Z]+)\n +.*\n(?: +\((.*); (default .*)\)\n)?",
                          self.help.split("\nAlso keys of the configuration:\n")[1], re.MULTILINE)
        self.assertGreater(len(told), 20)
        for key, value, most, default in told:
            self.assertEqual(keys[key][0].upper(), value, key)
            most = re.sub(r" \(K, M and G are units\)", "", most)
            if default:
                self.assertIn(f"{most}; {default}.", keys[key][1], key)

    def test_what_needs_a_restart(self):
        """Those that conf/pathbusd.conf marks, and the page."""
        marked, comment = set(), ""
        for line in (SOURCES / "conf/pathbusd.conf").read_text().splitlines():
            if match := re.match(r"#([a-z-]+) =", line):
                if "(restart)" in comment:
                    marked.add(match[1])
            comment = comment + line if line else ""
        pages = self.keys_of_page()
        found = {key for name in pages for key, (_, text) in pages[name].items() if re.search(r"\b[Rr]estart\.", text)}
        self.assertEqual(found, marked)
        self.assertGreater(len(found), 3)

    def test_exit_statuses(self):
        of_page = [item for item, _ in items(section(read("pathbusd.8"), "EXIT STATUS"))]
        of_help = re.findall(r"\b(\d) [a-z]", " ".join(self.help.split("Exit status: ")[1].split()))
        self.assertEqual(of_page, of_help)
        self.assertEqual(of_page, ["0", "1", "2", "3"])


class Library(unittest.TestCase):
    """pathbus_*(3), by the public header"""

    ERROR = re.compile(r"\bE(?!RROR\b)[A-Z]{2,}\b")

    def setUp(self):
        self.header = (SOURCES / "libclient/include/pathbus.h").read_text()
        self.pages = {page.name: page.read_text(encoding="utf-8") for page in PAGES if page.name.endswith(".3")}
        self.functions = {}  # name: (prototype, comment)
        for comment, prototype in re.findall(r"/\*\*(.*?)\*/\s*PATHBUS_PUBLIC ([^;]*);", self.header, re.DOTALL):
            self.functions[re.search(r"(pathbus_\w+)\(", prototype)[1]] = (self.squeezed(prototype), comment)
        self.assertEqual(len(self.functions), len(re.findall(r"^PATHBUS_PUBLIC ", self.header, re.MULTILINE)))
        self.assertGreater(len(self.functions), 50)

    @staticmethod
    def squeezed(code):
        """Without comments, and with no more spaces than are needed."""
        code = " ".join(re.sub(r"/\*.*?\*/", "", code, flags=re.DOTALL).split())
        return re.sub(r" ?([*(){},;=]) ?", r"\1", code)

    @staticmethod
    def prototypes(page):
        """{name: its prototype in the SYNOPSIS}"""
        found, kind, line = {}, "", ""
        for text in section(page, "SYNOPSIS").splitlines():
            words = [quoted or word for quoted, word in re.findall(r'"([^"]*)"|(\S+)', text)] or [""]
            if words[0] == ".Ft":
                kind = words[1]
            elif words[0] == ".Fn":
                found[words[1]] = f"{kind} {words[1]}({','.join(words[2:])})"
            elif words[0] == ".Fo":
                name, line = words[1], []
            elif words[0] == ".Fa":
                line.append(words[1])
            elif words[0] == ".Fc":
                found[name] = f"{kind} {name}({','.join(line)})"
        return found

    def test_each_function_has_a_page(self):
        found = {}
        for page, text in self.pages.items():
            prototypes = self.prototypes(text)
            names = re.findall(r"^\.Nm (\w+)", section(text, "NAME"), re.MULTILINE)
            self.assertEqual(list(prototypes), names, page)
            self.assertEqual(names[0] + ".3", page)
            for name, prototype in prototypes.items():
                self.assertNotIn(name, found)
                found[name] = self.squeezed(prototype)
        self.assertEqual(found, {name: prototype for name, (prototype, _) in self.functions.items()})

    def errors_of(self, name):
        """Those that it returns; a comment may speak of others before."""
        return self.ERROR.findall(re.split(r"\b[Rr]eturns\b", self.functions[name][1], maxsplit=1)[-1])

    def test_errors(self):
        """Those that the header names of a function are those of its part of ERRORS."""
        told = set()
        for page, text in self.pages.items():
            for part in re.split(r"^\.Ss ", section(text, "ERRORS"), flags=re.MULTILINE)[1:]:
                names = re.findall(r"pathbus_\w+(?=\(\))", part.split("\n")[0])
                self.assertTrue(names, page)
                expected = {error for name in names for error in self.errors_of(name)}
                found = {error for item, _ in items(part) for error in self.ERROR.findall(item)}
                self.assertEqual(found, expected, f"{page} {names}")
                told.update(names)
        self.assertEqual({name for name in self.functions if self.errors_of(name)} - told, set())

    def test_constants_and_structures(self):
        """Each has its place in some page, with all its fields."""
        text = "\n".join(self.pages.values())
        for name in re.findall(r"^#define (PATHBUS_\w+)\s+\(?\d", self.header, re.MULTILINE):
            if "_VERSION_" not in name:
                self.assertTrue(re.search(rf"(?m)^\.(It )?Dv {name}\b", text), name)
        shown = self.squeezed("\n".join(re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", text, re.MULTILINE | re.DOTALL)))
        n = 0
        for code in re.findall(r"^(?:struct|enum) \w+ \{\n.*?^\};|^typedef int .*?;", self.header, re.MULTILINE | re.DOTALL):
            n += 1
            self.assertTrue(self.squeezed(code) in shown, code)
        self.assertGreater(n, 20)


if __name__ == "__main__":
    unittest.main()
