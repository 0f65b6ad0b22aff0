"""What deploy/examples/ holds: checked, run as its pages say, and with the numbers that they show."""
import contextlib
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

import docs_example
import weirtest
from mqtt_broker import Broker, needs_broker

EXAMPLES = os.path.join(weirtest.ROOT, "deploy", "examples")


def example(name, **more):
    return docs_example.Example(f"deploy/examples/{name}/README.md", beside=True, **more)


def kill_pid(path):
    """What a page started, and did not come to end."""
    with contextlib.suppress(OSError, ValueError), open(path) as f:
        os.kill(int(f.read()), signal.SIGKILL)


def assert_fine(test, path):
    """Nothing is wrong with it, and nothing to note."""
    r = subprocess.run([weirtest.WEIRCTL, "check", path], capture_output=True, text=True)
    test.assertRegex(r.stdout + r.stderr, rf"^{re.escape(path)}: fine: [^\n]*\n$")
    test.assertEqual(r.returncode, 0)


class Checked(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="weir-test-")
        self.addCleanup(shutil.rmtree, self.dir)

    def files(self):
        found = sorted(glob.glob(os.path.join(EXAMPLES, "*", "topology.yaml")))
        self.assertGreaterEqual(len(found), 3)
        return found

    def test_topologies(self):
        for path in self.files():
            assert_fine(self, path)
        r = subprocess.run([weirtest.WEIRCTL, "check", *self.files()], capture_output=True, text=True)
        self.assertEqual((r.returncode, r.stdout.count(": fine: ")), (0, len(self.files())), r.stderr)

    def test_what_is_commented_out_works_too(self):
        """A line `#- {...}` or `#key: ...` is there to be taken."""
        for path in self.files():
            with open(path) as f:
                taken = re.sub(r"^( *)#(?=[-a-z])", r"\1", f.read(), flags=re.M)
            whole = os.path.join(self.dir, "topology.yaml")
            with open(whole, "w") as f:
                f.write(taken)
            assert_fine(self, whole)


class Fleet(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="weir-test-")
        self.addCleanup(shutil.rmtree, self.dir)

    def generate(self, *args):
        return subprocess.run([sys.executable, os.path.join(EXAMPLES, "fleet", "generate"), *args], capture_output=True, text=True, cwd=self.dir)

    def test_page(self):
        with example("fleet") as e:
            e.run_blocks()

    def test_sizes(self):
        """The same arguments, the same text; each size that may be asked for is fine."""
        for edges, clouds in ((1, 1), (200, 5), (1000, 7), (2000, 64)):
            args = ("--edges", str(edges), "--clouds", str(clouds))
            text = self.generate(*args).stdout
            self.assertEqual(self.generate(*args).stdout, text)
            path = os.path.join(self.dir, "topology.yaml")
            with open(path, "w") as f:
                f.write(text)
            assert_fine(self, path)
            self.assertEqual(len(re.findall(r"^ {2}- name: gw-\d{4}$", text, re.M)), edges)

    def test_refusals(self):
        for text, message in (("a,b\na,c\n", "gateways.csv:2: a is there already"), ("a\n", "gateways.csv:1: NAME,SITE is expected"),
                              ("a,b c\n", "gateways.csv:1: NAME,SITE is expected"), ("", "0 gateways; 1 to 2000")):
            with open(os.path.join(self.dir, "gateways.csv"), "w") as f:
                f.write(text)
            r = self.generate("--gateways", "gateways.csv")
            self.assertNotEqual(r.returncode, 0)
            self.assertEqual(r.stdout, "")
            self.assertIn(message, r.stderr)
        for args in (["--edges", "0"], ["--edges", "2001"], ["--clouds", "65"], ["--domain", 'a"b']):
            self.assertEqual(self.generate(*args).returncode, 2, args)

    def test_runs(self):
        """Of 200 gateways, three are there, and what they measured is counted to the last reading."""
        with example("fleet") as e:
            text = self.generate("--local", "--clouds", "3").stdout
            text = text.replace("count: 3600", 'count: 60, fast: true, start: "2026-01-01T00:00:00Z"')
            self.assertEqual(text.count("fast: true"), 200)
            for number in docs_example.ADDRESS.findall(text):
                if number < "20000" or number in ("20001", "20002", "20003"):
                    e.port[number] = str(weirtest.free_port())
                else:
                    e.port[number] = number  # nobody starts these
            with open(e.topology, "w") as f:
                f.write(docs_example.ADDRESS.sub(lambda m: "127.0.0.1:" + e.port[m.group(1)], text))
            e.start(edges=False)
            for name in ("gw-0001", "gw-0002", "gw-0003"):
                e.start_daemon(weirtest.EDGED, name)
            ask = "weirctl query heard --window 5m -o csv | cut -d, -f3-5"
            weirtest.wait_for("all readings", lambda: e.command(ask).stdout == "site,count,distinct(gateway)\nsite-001,900,3\n")


class Run(unittest.TestCase):
    def test_one_machine(self):
        with example("one-machine") as e:
            e.run()

    @needs_broker
    def test_factory_line(self):
        with contextlib.ExitStack() as running:
            e = running.enter_context(example("factory-line", environment={"WEIR_TOKEN_FILE": "operator.token"}))
            for hall, port in (("north", "1883"), ("south", "1884")):
                running.enter_context(Broker(os.path.join(e.dir, hall), port=e.port[port], config=os.path.join(e.dir, hall + ".conf")))
            running.callback(kill_pid, os.path.join(e.dir, "pager.pid"))
            e.run()

    def test_road_sensors(self):
        with example("road-sensors") as e:
            e.run()


if __name__ == "__main__":
    unittest.main()
