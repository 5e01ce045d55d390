# SPDX-License-Identifier: MIT
"""What tests of the configuration have in common: a file of it, and the files that it is about."""

import os
import pathlib

import bus


class Config:
    """A configuration for files in a folder of its own, which stands for HERE."""

    def __init__(self, text, mode=0o600):
        self.folder = pathlib.Path(os.path.realpath(bus.new_folder()))
        self.path = self.folder / "pathbusd.conf"
        self.write(text)
        self.path.chmod(mode)

    def write(self, text):
        self.path.write_text(text.replace("HERE", os.fspath(self.folder)))

    def daemon(self, *arguments, **keywords):
        return bus.daemon("--config", self.path, *arguments, **keywords)

    def file(self, name, mode=0o600):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        path.chmod(mode)
        return path
