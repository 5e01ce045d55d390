#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pathbusctl region list, create, read, write and dump."""

import base64
import json
import os
import signal
import subprocess
import sys

import ctl

SIZE = 300000


class Regions:
    def create(self, name="r", size=str(SIZE), *options):
        """Holds it. Returns when it is there."""
        process = self.background("region", "create", self.path(), name, size, *options)
        self.assertRegex(process.err.line() or b"(ended)",
                         rb"\Aholding region \".+\" of .+: .+ pages \(%s\)\Z" % self.transport.encode())
        return process

    def helper(self, role, name="r", *words):
        return self.start([os.environ["PATHBUS_HELPER"], role, self.path(), name, *words])

    def list(self):
        found = json.loads(self.expect(0, "region", "list", "--json", self.path()).stdout)
        self.assertEqual((found["file"], found["transport"]), (os.fsdecode(self.path()), self.transport))
        self.assertEqual(set(found), {"file", "transport", "regions"})
        return {region["name"]: region for region in found["regions"]}

    def read(self, name="r"):
        return self.expect(0, "region", "read", self.path(), name).stdout

    def write(self, data, name="r"):
        self.assertEqual(self.expect(0, "region", "write", self.path(), name, input=data).stdout, b"")

    def dump(self, *options, status=0):
        return json.loads(self.expect(status, "region", "dump", "--json", self.path(), "r", *options).stdout)

    def test_lives_as_long_as_its_holder(self):
        for number in [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]:
            holder = self.create()
            self.assertEqual(list(self.list()), ["r"])
            holder.send(number)
            self.assertEqual(holder.exit(), 0)
            ctl.wait_until("it is gone", lambda: not self.list())
            self.assertIn(b"region \"r\" of " + self.path() + b": there is none of that name",
                          self.expect(66, "region", "read", self.path(), "r").stderr)

    def test_read_and_write(self):
        for options in [[], ["--double"], ["--reserve"], ["--double", "--reserve", "--huge"]]:
            with self.subTest(options=options):
                holder = self.create("r", str(SIZE), *options)
                self.assertEqual(self.read(), bytes(SIZE))
                data = os.urandom(SIZE)
                self.write(data)
                self.assertEqual(self.read(), data)
                # The rest becomes zero, whichever frame it was.
                for text in [b"first", b"2", b"", b"third"]:
                    self.write(text)
                    self.assertEqual(self.read(), text + bytes(SIZE - len(text)))
                self.assertEqual(self.list()["r"]["version"], 5)
                holder.close()
                ctl.wait_until("it is gone", lambda: not self.list())

    def test_too_long_input(self):
        self.create()
        self.write(b"before")
        for more in [1, 5000000]:
            error = self.expect(1, "region", "write", self.path(), "r", input=bytes(SIZE + more)).stderr
            self.assertIn(b"longer than region \"r\", which has 293.0K; nothing was written", error)
        self.assertEqual(self.read()[:8], b"before\0\0")
        self.assertEqual(self.list()["r"]["version"], 1)

    def test_list(self):
        self.assertEqual(self.expect(0, "region", "list", self.path()).stdout, b"")
        holder = self.create("one", "64K", "--double")
        writer = self.helper("holder", "one")
        self.assertEqual(writer.out.line(), b"open")
        other = self.create("two \x1b", "1M", "--reserve")
        found = self.list()
        self.assertEqual(set(found), {"one", "two \x1b"})
        one, two = found["one"], found["two \x1b"]
        self.assertEqual((one["size"], one["version"], one["double"], one["reserved"]), (65536, 0, True, False))
        self.assertEqual((two["size"], two["double"], two["reserved"], two["where"]), (1 << 20, False, True, self.transport))
        self.assertEqual(one["n_holders"], 2)
        holders = {who["pid"]: who for who in one["holders"]}
        self.assertEqual(set(holders), {holder.pid, writer.pid})
        self.assertEqual((holders[holder.pid]["command"], holders[holder.pid]["writes"]), ("pathbusctl", True))
        self.assertEqual((holders[writer.pid]["uid"], holders[writer.pid]["writes"]), (os.geteuid(), False))
        self.assertEqual([who["pid"] for who in two["holders"]], [other.pid])
        text = self.expect(0, "region", "list", self.path()).stdout.decode()
        self.assertEqual(len(text.splitlines()), 3)
        self.assertRegex(text, r"\ANAME +SIZE +VERSION ")
        self.assertRegex(text, rf"(?m)^one +64K +0 +double +ordinary +{self.transport} .*\b{holder.pid} \S+ pathbusctl \(writes\)")
        self.assertRegex(text, r"(?m)^two \\x1b +1M +0 +reserved ")
        for line in text.splitlines():
            self.assertEqual(line, line.rstrip())

    def test_sizes(self):
        for i, (text, size, shown) in enumerate([("1", 1, "1"), ("1000", 1000, "1000"), ("1k", 1024, "1K"),
                                                 ("1536", 1536, "1.5K"), ("3M", 3 << 20, "3M"), ("2g", 2 << 30, "2G")]):
            with self.subTest(text=text):
                self.create(f"r{i}", text)
                self.assertEqual(self.list()[f"r{i}"]["size"], size)
                table = self.expect(0, "region", "list", self.path()).stdout.decode()
                self.assertRegex(table, rf"(?m)^r{i} +{shown} +0 ")

    def test_reader_waits_for_a_whole_frame(self):
        self.create()
        self.write(b"a" * SIZE)
        writer = self.helper("stuck", "r", "b")
        self.assertEqual(writer.out.line(), b"begun")
        error = self.expect(124, "region", "read", "--timeout", "0.1", self.path(), "r").stderr
        self.assertIn(b"written all the time, or its writer has stopped half-way", error)
        reader = self.background("region", "read", self.path(), "r")
        ctl.wait_until("it has opened it", lambda: self.list()["r"]["n_holders"] == 3)
        writer.send(signal.SIGUSR1)
        self.assertEqual(writer.out.line(), b"ended")
        with reader.child.stdout as out:
            self.assertEqual(out.read(), b"b" * SIZE)
        self.assertEqual(reader.exit(), 0)

    def test_double_readers_do_not_wait(self):
        self.create("r", str(SIZE), "--double")
        self.write(b"a" * SIZE)
        writer = self.helper("stuck", "r", "b")
        self.assertEqual(writer.out.line(), b"begun")
        self.assertEqual(self.read(), b"a" * SIZE)
        writer.send(signal.SIGUSR1)
        self.assertEqual(writer.out.line(), b"ended")
        self.assertEqual(self.read(), b"b" * SIZE)

    def test_never_half_a_frame(self):
        for options in [[], ["--double"]]:
            holder = self.create("r", str(SIZE), *options)
            writer = self.helper("writer")
            self.assertEqual(writer.out.line(), b"writes")
            for _ in range(10):
                data = self.read()
                self.assertEqual(data, data[:1] * SIZE)
            for process in [writer, holder]:
                process.send(signal.SIGTERM)
                self.assertEqual(process.exit(), 0)
            ctl.wait_until("it is gone", lambda: not self.list())

    def test_a_writer_at_a_time(self):
        self.create()
        writer = self.helper("stuck", "r", "b")
        self.assertEqual(writer.out.line(), b"begun")
        error = self.expect(124, "region", "write", "--timeout", "0.1", self.path(), "r", input=b"x").stderr
        self.assertIn(b"another program is writing it", error)
        writer.send(signal.SIGUSR1)
        self.assertEqual(writer.out.line(), b"ended")
        self.write(b"x")
        self.assertEqual(self.read()[:2], b"x\0")

    def test_a_writer_that_dies_half_way(self):
        self.create()
        writer = self.helper("stuck", "r", "b")
        self.assertEqual(writer.out.line(), b"begun")
        writer.send(signal.SIGKILL)
        self.assertEqual(writer.exit(), -signal.SIGKILL)
        # Whatever the readers are told meanwhile, the next writer puts it right.
        self.write(b"next")
        self.assertEqual(self.read(), b"next" + bytes(SIZE - 4))

    def test_dump(self):
        self.create("r", "64K", "--double")
        self.assertEqual(self.dump()["version"], 0)
        self.write(bytes(range(256)) * 2)
        text = self.expect(0, "region", "dump", "--bytes", "40", self.path(), "r").stdout.decode()
        self.assertRegex(text, r"(?m)^size +65536 bytes \(64K\), twice: double buffered$")
        self.assertRegex(text, r"(?m)^version +1$")
        self.assertRegex(text, r"(?m)^state +whole$")
        self.assertEqual(text.splitlines()[-3:], [
            "00000000   00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  |................|",
            "00000010   10 11 12 13 14 15 16 17  18 19 1a 1b 1c 1d 1e 1f  |................|",
            "00000020   20 21 22 23 24 25 26 27                           | !\"#$%&'|"])
        found = self.dump("--bytes", "3")
        self.assertEqual(base64.b64decode(found["data_base64"]), b"\0\1\2")
        self.assertEqual((found["name"], found["whole"], found["replaced"], found["version"]), ("r", True, False, 1))
        self.assertEqual(len(base64.b64decode(self.dump("--bytes", "1000000")["data_base64"])), 65536)

    def test_dump_of_what_is_being_written(self):
        self.create()
        self.write(b"a")
        writer = self.helper("stuck", "r", "b")
        self.assertEqual(writer.out.line(), b"begun")
        found = self.dump("--timeout", "0", status=124)
        self.assertEqual((found["whole"], found["size"], "data_base64" in found), (False, SIZE, False))
        text = self.expect(124, "region", "dump", "--timeout", "0", self.path(), "r").stdout
        self.assertIn(b"is being written", text)
        writer.send(signal.SIGUSR1)
        self.assertEqual(writer.out.line(), b"ended")

    def test_a_version_is_a_post(self):
        self.create()
        listener = self.listen(self.path())
        self.write(b"x")
        self.expect_post(listener, self.path())

    def test_the_name_is_taken(self):
        self.create()
        error = self.expect(1, "region", "create", self.path(), "r", "1M").stderr
        self.assertIn(b"cannot create region \"r\" of " + self.path() + b": there is one of that name already; see who "
                      b"has it: pathbusctl region list " + self.path(), error)

    def test_output_that_cannot_be_written(self):
        self.create()
        for words in [["list"], ["read", "r"], ["dump", "r"]]:
            with self.subTest(words=words), open("/dev/full", "wb") as full:
                self.assertIn(b"output", self.expect(1, "region", words[0], self.path(), *words[1:], stdout=full).stderr)

    def test_reader_of_the_output_goes_away(self):
        self.create("r", "4M")
        command = f'"$0" {" ".join([*ctl.PATIENT, "region", "read"])} "$1" r | head -c 10 | wc -c'
        out = subprocess.run(["/bin/bash", "-o", "pipefail", "-c", command, ctl.CTL, self.path()], env=self.env,
                             capture_output=True, timeout=ctl.LIMIT_S)
        self.assertEqual((out.returncode, out.stdout.strip()), (1, b"10"))
        self.assertIn(b"cannot write to the output", out.stderr)

    def test_a_signal_while_the_input_is_awaited(self):
        self.create()
        with subprocess.Popen([ctl.CTL, *ctl.PATIENT, "region", "write", self.path(), "r"], env=self.env,
                              stdin=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
            writer.stdin.write(b"half")
            writer.stdin.flush()
            ctl.wait_until("it has opened it", lambda: self.list()["r"]["n_holders"] == 2)
            writer.send_signal(signal.SIGTERM)
            self.assertEqual(writer.wait(ctl.LIMIT_S), -signal.SIGTERM)
            self.assertEqual(writer.stderr.read(), b"")
        self.assertEqual(self.list()["r"]["version"], 0)

    def test_holder_goes_on_without_the_daemon(self):
        if not self.daemon:
            self.skipTest("only with a daemon")
        self.create()
        keeper = self.helper("holder")
        self.assertEqual(keeper.out.line(), b"open")
        self.write(b"kept")
        self.stop_daemon(signal.SIGKILL)
        self.start_daemon()
        ctl.wait_until("the daemon knows it again", lambda: "r" in self.list())
        self.assertEqual(self.read()[:5], b"kept\0")


class Words(ctl.Case):
    def test_usage(self):
        file = self.path()
        for words in [[], ["list"], ["list", file, "r"], ["create", file, "r"], ["create", file, "r", "1", "2"],
                      ["read", file], ["write", file], ["dump", file], ["make", file], ["read", "--json", file, "r"],
                      ["dump", "--bytes", "x", file, "r"], ["dump", "--bytes", "1048577", file, "r"],
                      ["read", "--timeout", "x", file, "r"], ["list", "--double", file]]:
            with self.subTest(words=words):
                self.assertEqual(self.expect(2, "region", *words).stdout, b"")
        for size in ["", "0", "-1", "1x", "1KK", "K", " 1", "1.5M", "0x10", "18446744073709551616", "16777216T", "1MB"]:
            with self.subTest(size=size):
                error = self.expect(2, "region", "create", "--", file, "r", size).stderr
                self.assertIn(b"SIZE needs a number of bytes, such as 4096, 64K, 100M or 2G", error)
        self.assertIn(b"from 1 byte to 4T", self.expect(2, "region", "create", file, "r", "5T").stderr)
        self.expect(2, "region", "create", file, "", "1K")
        self.expect(2, "region", "create", file, "n" * 256, "1K")

    def test_socket(self):
        self.start_daemon()
        for words in [["list", self.path()], ["create", self.path(), "r", "1M"], ["read", self.path(), "r"]]:
            error = self.expect(1, "--transport", "socket", "region", *words).stderr
            self.assertIn(b"shared memory", error)

    def test_no_folder_or_region(self):
        self.expect(66, "region", "list", self.path("none/x"))
        for words in [["read", self.path(), "r"], ["write", self.path(), "r"], ["dump", self.path(), "r"]]:
            error = self.expect(66, "region", *words, input=b"").stderr
            self.assertIn(b"see those there are: pathbusctl region list " + self.path(), error)


ctl.over_both(sys.modules[__name__], Regions)
if __name__ == "__main__":
    ctl.main()
