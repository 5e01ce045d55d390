#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the configuration leaves of the rights that files give."""

import errno
import os
import pathlib

import bus


class Rules:
    """A configuration for files in a folder of its own."""

    def __init__(self, *lines):
        self.folder = pathlib.Path(os.path.realpath(bus.new_folder()))
        self.config = self.folder / "pathbusd.conf"
        self.config.write_text("[rights]\n" + "\n".join(line.replace("HERE", os.fspath(self.folder)) for line in lines))
        self.config.chmod(0o600)

    def daemon(self, *arguments, **keywords):
        return bus.daemon("--config", self.config, *arguments, **keywords)

    def file(self, name, mode=0o600):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        path.chmod(mode)
        return path


def expect_refused(connection, path, flags, text):
    try:
        connection.open(path, flags)
    except bus.Failed as failed:
        assert failed.number == errno.EACCES and text in failed.text, failed
    else:
        raise AssertionError(f"{path} was opened")


def test_who_is_named():
    me, mine = os.geteuid(), os.getegid()
    rules = Rules(f"post = HERE/user/** : {me + 1}, {me}", f"post = HERE/group/** : @{mine}",
                  f"post = HERE/other/** : {me + 1},", f"  @{mine + 1}", "post = HERE/nobody/** :",
                  f"subscribe = HERE/secret/* : {me + 1}")
    with rules.daemon() as daemon, daemon.connect() as connection:
        for folder, rights in (("user", 3), ("group", 3), ("other", 1), ("nobody", 1), ("else", 3)):
            assert connection.open(rules.file(f"{folder}/file")).rights == rights, folder
            assert connection.open(rules.folder / folder / "missing").rights == rights, folder
        expect_refused(connection, rules.folder / "nobody/file", bus.POST, "names those who may post")
        expect_refused(connection, rules.file("secret/file"), 0, "names those who may subscribe")
        assert connection.open(rules.folder / "secret/file", bus.POST).rights == bus.POST
        assert connection.open(rules.folder / "secret/../else/file").rights == 3


def test_links_lead_to_where_the_rule_is():
    rules = Rules("post = HERE/shared/** :")
    with rules.daemon() as daemon, daemon.connect() as connection:
        there = rules.file("shared/file")
        (rules.folder / "to-file").symlink_to(there)
        (rules.folder / "to-folder").symlink_to("shared")
        (rules.folder / "shared/out").symlink_to("../free")
        rules.file("free")
        for path, rights in (("shared/file", 1), ("to-file", 1), ("to-folder/file", 1), ("to-folder/missing", 1),
                             ("shared/../shared/file", 1), ("shared/out", 3)):
            assert connection.open(rules.folder / path).rights == rights, path


def test_another_name_of_a_file():
    """Whoever may write a file may give it a name outside the rule, and gains nothing by that."""
    rules = Rules("post = HERE/shared/** :")
    for first, second in (("shared/file", "free"), ("free", "shared/file")):
        with rules.daemon() as daemon, daemon.connect() as connection:
            there = rules.file("shared/file")
            for other in ("free", "shared/more"):
                (rules.folder / other).unlink(missing_ok=True)
                os.link(there, rules.folder / other)
            opened = {path: connection.open(rules.folder / path) for path in (first, second, "shared/more")}
            assert {path: topic.rights for path, topic in opened.items()} == {"shared/file": 1, "free": 3, "shared/more": 1}
            assert opened["free"].lane != opened["shared/file"].lane == opened["shared/more"].lane


if __name__ == "__main__":
    bus.main()
