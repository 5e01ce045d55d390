#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The configuration is read anew while the daemon serves: all of it is in force then, or nothing has changed."""

import pathlib
import signal

import bus


class Reloaded:
    """A daemon with a configuration that changes."""

    def __init__(self, text, *arguments, **keywords):
        self.path = pathlib.Path(bus.new_folder()) / "pathbusd.conf"
        self.write(text)
        self.daemon = bus.Daemon("--config", self.path, *arguments, **keywords)

    def write(self, text):
        self.path.write_text(text)
        self.path.chmod(0o600)

    def reload(self):
        """What it says of it."""
        before = len(self.daemon.said())
        self.daemon.process.send_signal(signal.SIGHUP)
        lines = bus.wait_for(lambda: [line for line in self.daemon.said()[before:].split("\n")[:-1] if "reload: " in line],
                             "it says what it has read")
        return lines[-1].partition("reload: ")[2]


def test_log_level():
    world = Reloaded("[daemon]\nlog-level = info\n")
    world.write("[daemon]\nlog-level = debug\n")
    assert "log-level" in world.reload()
    assert "nothing" in world.reload()
    world.daemon.stop()


if __name__ == "__main__":
    bus.main()
