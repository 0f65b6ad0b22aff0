"""The image: what it is made of, what it may not, and that it starts, is healthy and ends as an orchestrator expects."""

import os
import subprocess
import tempfile
import time
import unittest

import engine
import images
from weirtest import LONG, wait_for

SIZE_MAX = 100_000_000
UID = "10001"
HARD = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
TOPOLOGY = """version: 1
cluster: {name: image, shards: 2, replicas: 1, security: none}
cloud: [{name: cloud-1, listen: "tcp://127.0.0.1:7101", http: "127.0.0.1:8101"}]
edges:
  - {name: edge-1, http: "127.0.0.1:8201", sources: [{type: simulate, sensors: 5, every: 100ms, measurement: machine, field: temperature}], flush: 1s}
  - {name: edge-2, sources: [{type: simulate, sensors: 5, every: 100ms}]}
streams: [{name: temperature, from: {measurement: machine, field: temperature}, window: 1s, lateness: 1s, compute: [count]}]
"""


class Container:
    """One of the image, as an orchestrator starts it: its root read-only, without rights, and with a fast health check."""

    def __init__(self, node, topology, *options, words=(), hard=True):
        self.eng, self.name = engine.current, engine.current.name("image")
        health = ["--health-interval", "1s", "--health-retries", "2", "--health-start-period", "0s", "--health-timeout", "20s"]
        self.eng.docker("run", "-d", "--name", self.name, *self.eng.label(), *(HARD if hard else []), *health,
                        *(["-e", f"WEIR_NODE={node}"] if node else []),
                        *(["-v", f"{topology}:/etc/weir/topology.yaml:ro"] if topology else []), *options, images.WEIR, *words)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            print(self.log())
        self.eng.docker("rm", "-fv", self.name, check=False)

    def run(self, *command, check=True, user=None):
        return self.eng.docker("exec", *(["--user", user] if user else []), self.name, *command, check=check)

    def pid(self, program):
        """Inside; tini is the first."""
        script = 'for p in /proc/[0-9]*; do read -r name <$p/comm && [ "$name" = "$1" ] && echo ${p#/proc/}; done; true'
        return self.run("sh", "-c", script, "sh", program).stdout.strip()

    def state(self):
        return self.eng.inspect(self.name)["State"]

    def log(self):
        r = self.eng.docker("logs", self.name)
        return r.stdout + r.stderr

    def wait_health(self, word):
        wait_for(f"{self.name} {word}", lambda: self.state()["Health"]["Status"] == word)

    def ended(self):
        """Its exit code, once it has ended by itself."""
        return int(self.eng.docker("wait", self.name, timeout=180).stdout)


class Image(unittest.TestCase):
    seconds = 40

    @classmethod
    def setUpClass(cls):
        cls.eng = engine.current
        images.weir(cls.eng)
        folder = tempfile.TemporaryDirectory(prefix="weir-test-")
        cls.addClassCleanup(folder.cleanup)
        os.chmod(folder.name, 0o755)
        cls.topology = cls.write(folder.name, "topology.yaml", TOPOLOGY)
        cls.wrong = cls.write(folder.name, "wrong.yaml", TOPOLOGY.replace("shards: 2", "shards: two"))

    @staticmethod
    def write(folder, name, text):
        path = os.path.join(folder, name)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, 0o644)
        return path

    def test_it_is_small_and_says_what_it_runs(self):
        image = self.eng.inspect(images.WEIR)
        print(f"the image has {image['Size'] / 1e6:.1f} MB")
        self.assertLess(image["Size"], SIZE_MAX)
        self.assertEqual(len(image["RootFS"]["Layers"]), 1)
        config = image["Config"]
        self.assertEqual(config["User"], f"{UID}:{UID}")
        self.assertEqual(config["Healthcheck"]["Test"], ["CMD", "weirctl", "healthy"])
        self.assertEqual(config["StopSignal"], "SIGTERM")

    def test_nothing_in_it_gives_rights(self):
        found = self.eng.docker("run", "--rm", "--user", "0", "--entrypoint", "find", images.WEIR, "/", "-xdev", "(", "-type", "f", "-perm", "/6000",
                                "-o", "-type", "f", "-perm", "-0002", "-o", "-type", "d", "-perm", "-0002", "!", "-perm", "-1000", ")").stdout
        self.assertEqual(found, "")
        # What could install more is gone, and dpkg's list, which scanners read, knows it.
        listed = self.eng.docker("run", "--rm", "--entrypoint", "cat", images.WEIR, "/var/lib/dpkg/status").stdout.split("\n")
        self.assertIn("Package: libzmq5", listed)
        for name in ("apt", "perl-base", "passwd"):
            self.assertNotIn("Package: " + name, listed)

    def test_as_started_it_may_nothing(self):
        with Container("cloud-1", self.topology) as c:
            c.wait_health("healthy")
            told = self.eng.inspect(c.name)
            self.assertTrue(told["HostConfig"]["ReadonlyRootfs"])
            self.assertEqual(told["HostConfig"]["CapDrop"], ["ALL"])
            lines = c.run("cat", f"/proc/{c.pid('cloudd')}/status").stdout.splitlines()
            status = {k: v.split() for k, _, v in (line.partition(":") for line in lines)}
            self.assertEqual(status["Name"], ["cloudd"])
            self.assertEqual(status["Uid"] + status["Gid"], [UID] * 8)
            self.assertEqual(status["NoNewPrivs"], ["1"])
            for which in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                self.assertEqual(int(status[which][0], 16), 0, which)
            for path in ("/here", "/etc/weir/here", "/tmp/here", "/etc/weir/topology.yaml"):
                r = c.run("sh", "-c", f">>{path}", check=False, user="0")
                self.assertIn("Read-only file system", r.stderr, path)
            writable = c.run("sh", "-c", "while read -r _ at _ options _; do case $options in rw*) echo $at;; esac; done </proc/mounts").stdout.split()
            self.assertIn("/var/lib/weir", writable)
            beside = [m for m in writable if not m.startswith(("/proc", "/dev", "/sys", "/etc/resolv.conf", "/etc/host", "/var/lib/weir"))]
            self.assertEqual(beside, [])

    def test_its_health_is_the_daemons(self):
        with Container("cloud-1", self.topology) as c:
            c.wait_health("healthy")
            daemon = c.pid("cloudd")
            c.run("sh", "-c", f"kill -STOP {daemon}")
            c.wait_health("unhealthy")
            wait_for("the reason", lambda: any("cloud-1: not healthy: http://127.0.0.1:8101" in said["Output"] for said in c.state()["Health"]["Log"]))
            c.run("sh", "-c", f"kill -CONT {daemon}")
            c.wait_health("healthy")

    def test_an_edge_runs_without_http_too(self):
        with Container("edge-2", self.topology) as c:
            c.wait_health("healthy")
            self.assertIn("/var/lib/weir/spool open", c.run("weirctl", "healthy").stdout)
            self.assertTrue(c.pid("edged"))

    def test_sigterm_ends_it_and_its_volume_has_the_rest(self):
        volume = self.eng.name("data")
        self.eng.docker("volume", "create", *self.eng.label(), volume)
        accepted = 0
        for turn in range(2):
            with Container("edge-1", self.topology, "-v", f"{volume}:/var/lib/weir") as c:
                c.wait_health("healthy")
                self.assertIn(f"accepted={accepted} ", c.log())  # it goes on where it was
                self.eng.docker("stop", "--time", "60", c.name)
                state = c.state()
                self.assertEqual((state["ExitCode"], state["OOMKilled"]), (0, False), c.log())
                last = [line for line in c.log().splitlines() if 'msg="stopped"' in line]
                self.assertEqual(len(last), 1, c.log())
                accepted = int(last[0].split("accepted=")[1].split()[0])
                self.assertGreater(accepted, 0)

    def test_a_stop_at_any_moment_of_the_start_ends_it(self):
        for pause_s in (0, 0.02, 0.05, 0.1, 0.15):
            with Container("cloud-1", self.topology) as c:
                time.sleep(pause_s)
                self.eng.docker("stop", "--time", "60", c.name)
                self.assertEqual(c.state()["ExitCode"], 0, c.log())  # else the engine has killed it

    def test_what_is_wrong_is_said(self):
        for node, topology, code, text in (
                (None, self.topology, 2, "WEIR_NODE is not set"),
                ("cloud-9", self.topology, 2, "no node or edge called `cloud-9`"),
                ("cloud-1", self.wrong, 2, "/etc/weir/topology.yaml:2:32: cluster.shards:"),
                ("cloud-1", None, 2, "/etc/weir/topology.yaml: cannot open")):
            with self.subTest(text), Container(node, topology) as c:
                self.assertEqual(c.ended(), code)
                self.assertIn(text, c.log())

    def test_other_words_are_commands(self):
        r = self.eng.docker("run", "--rm", *HARD, images.WEIR, "weirctl", "--version")
        self.assertTrue(r.stdout.startswith("weirctl "))
        for topology, code in ((self.topology, 0), (self.wrong, 2)):
            r = self.eng.docker("run", "--rm", *HARD, "-v", f"{topology}:/etc/weir/topology.yaml:ro", images.WEIR, "weirctl", "check", check=False)
            self.assertEqual(r.returncode, code, r.stdout + r.stderr)
        # Options alone are the daemon's.
        r = self.eng.docker("run", "--rm", *HARD, "-e", "WEIR_NODE=edge-1", "-v", f"{self.topology}:/etc/weir/topology.yaml:ro", images.WEIR,
                            "--check")
        self.assertIn("fine: 1 cloud nodes, 2 edges", r.stdout)

    @unittest.skipUnless(LONG, "--long: minutes of all processors")
    def test_it_builds_from_source(self):
        """Without packages, out of the whole tree, as somebody who has only cloned it does."""
        with tempfile.TemporaryDirectory(prefix="weir-test-tree-") as tree:
            files = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=engine.ROOT, capture_output=True, check=True).stdout
            subprocess.run(["sh", "-c", 'tar -c --null -T - | tar -x -C "$1"', "sh", tree], cwd=engine.ROOT, input=files, check=True)
            self.eng.build("weir-test/weir-source", tree, os.path.join(tree, "deploy", "docker", "Dockerfile"), {"BASE": self.eng.base()})
        self.assertLess(self.eng.inspect("weir-test/weir-source")["Size"], SIZE_MAX)
        r = self.eng.docker("run", "--rm", *HARD, "weir-test/weir-source", "cloudd", "--version")
        self.assertTrue(r.stdout.startswith("cloudd "))
