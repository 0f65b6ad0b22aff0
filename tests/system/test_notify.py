"""What a service manager has of the daemons; the test is one, with a socket of its own (sd_notify). Ready, status, reload, stop; the
watchdog, which is fed while there is progress and not while the process hangs; names from the environment, credentials, exit codes."""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import time
import unittest

from test_membership import prepare
from weirtest import ApiError, Awake, CLOUDD, DEADLINE_S, EDGED, LONG, Cluster, wait_for

WATCHDOG_S = 1
STREAM = {"name": "s", "from": {"measurement": "m", "field": "value"}, "window": "1s", "compute": ["count"]}


class Manager:
    """The socket, and all that came, as {name: value}s in order."""

    def __init__(self, folder, abstract=False):
        self.address = f"@weir-test-{os.getpid()}-{id(self)}" if abstract else os.path.join(folder, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address.replace("@", "\0"))
        self.heard = []

    def of(self, daemon, watchdog_s=None):
        daemon.env = {**daemon.env, "NOTIFY_SOCKET": self.address}
        if watchdog_s:
            daemon.env["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        return daemon

    def receive(self, timeout_s):
        if not select.select([self.socket], [], [], timeout_s)[0]:
            return None
        text = self.socket.recv(4096).decode()
        self.heard.append(dict(line.split("=", 1) for line in text.split("\n")))
        return self.heard[-1]

    def await_message(self, name, match=lambda value: True):
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            m = self.receive(1)
            if m and name in m and match(m[name]):
                return m
        raise AssertionError(f"no {name}; heard last: {self.heard[-20:]}")

    def drain(self):
        while self.receive(0):
            pass

    def silent_for(self, seconds):
        """Whether nothing feeds the watchdog for so long, in which whoever should do so can run."""
        with Awake() as clock:
            end = clock.now() + seconds
            while (left := end - clock.now()) > 0:
                m = self.receive(left)
                if m and "WATCHDOG" in m:
                    return False
        return True

    def close(self):
        self.socket.close()


@contextlib.contextmanager
def stopped_thread(pid, name):
    """That one alone: a debugger can do that."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    thread = next(int(t) for t in os.listdir(f"/proc/{pid}/task") if open(f"/proc/{pid}/task/{t}/comm").read().strip() == name)
    if ptrace(16, thread, None, None):  # PTRACE_ATTACH
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(thread, 0x40000000)  # __WALL
    try:
        yield
    finally:
        ptrace(17, thread, None, None)  # PTRACE_DETACH


def status_of(c, node, path):
    try:
        c.get(node, path)
        return 200
    except ApiError as e:
        return e.status


class Notify(unittest.TestCase):
    @contextlib.contextmanager
    def cluster(self, **keys):
        with Cluster(clouds=2, edges={"edge-1": {"sources": [{"type": "tcp"}], **keys}}, streams=[STREAM]) as c:
            yield c

    def life(self, c, manager, daemon, status):
        """The whole of one that has no other to talk to: start order is free."""
        manager.of(daemon, WATCHDOG_S).start()
        ready = manager.await_message("READY")
        self.assertEqual(ready, {"READY": "1"})
        self.assertTrue(any("EXTEND_TIMEOUT_USEC" in m for m in manager.heard), "opening may take long")
        self.assertFalse([m for m in manager.heard if "WATCHDOG" in m], "fed before it is ready")
        self.assertIsNotNone(c.get(daemon.name, "/healthz"), "ready before it answers")
        manager.await_message("STATUS", lambda s: status in s)
        for _ in range(3):
            manager.await_message("WATCHDOG")
        self.reload(manager, daemon)
        self.hang(manager, daemon)
        manager.drain()
        self.assertEqual(daemon.stop(), 0)
        end = manager.heard.index(manager.await_message("STOPPING"))
        manager.drain()
        self.assertFalse([m for m in manager.heard[end:] if "READY" in m or "WATCHDOG" in m])

    def reload(self, manager, daemon):
        before = time.clock_gettime(time.CLOCK_MONOTONIC)
        daemon.signal(signal.SIGHUP)
        at = int(manager.await_message("RELOADING")["MONOTONIC_USEC"]) / 1e6
        self.assertTrue(before <= at <= time.clock_gettime(time.CLOCK_MONOTONIC), (before, at))
        manager.await_message("READY")

    def hang(self, manager, daemon):
        """Not a sleep for something to happen: that nothing comes in the watchdog's time is what is tested."""
        daemon.signal(signal.SIGSTOP)
        wait_for("it stands", lambda: open(f"/proc/{daemon.process.pid}/stat").read().rsplit(")", 1)[1].split()[0] == "T")
        manager.drain()
        self.assertTrue(manager.silent_for(WATCHDOG_S), manager.heard)
        daemon.signal(signal.SIGCONT)
        manager.await_message("WATCHDOG")

    def test_edge(self):
        with self.cluster() as c, contextlib.closing(Manager(c.dir)) as manager:
            self.life(c, manager, c.edges["edge-1"], "measuring; spool ")

    def test_cloud(self):
        with self.cluster() as c, contextlib.closing(Manager(c.dir, abstract=True)) as manager:
            self.life(c, manager, c.clouds["cloud-1"], "waits: ")

    def test_one_that_opens_again(self):
        """The cluster has another place for it than its file says: it closes all, opens it there, and is watched all the while."""
        with Cluster(clouds=1, streams=[STREAM], edges={"edge-1": {}}, cluster={"shards": 2, "replicas": 1}) as c:
            with contextlib.closing(Manager(c.dir)) as manager:
                c.start(edges=False)
                prepare(c, "cloud-2")
                cloud = manager.of(c.clouds["cloud-2"], WATCHDOG_S)
                with open(cloud.config) as f:
                    spec = json.load(f)
                spec["cloud"].reverse()  # first in its file, second for the cluster
                with open(cloud.config, "w") as f:
                    json.dump(spec, f)
                cloud.start()
                manager.await_message("READY")
                c.ctl("node", "add", "cloud-2", "--listen", f"tcp://127.0.0.1:{c.zmq['cloud-2']}", "--http",
                      f"127.0.0.1:{c.http['cloud-2']}", "--yes")
                manager.await_message("EXTEND_TIMEOUT_USEC")
                manager.await_message("READY")
                self.assertIn("starting again there", cloud.log())
                manager.await_message("WATCHDOG")
                manager.await_message("STATUS", lambda s: s.startswith("ready; leads "))
                self.assertEqual(cloud.stop(), 0)

    def test_a_writer_that_hangs(self):
        """The loop turns and HTTP answers, but a writer does no job: half a minute, and the watchdog is no longer fed. The wait is the promise's own
        (HEALTH_JOB_MAX_NS), so of the two writers the second has its turn in the long rounds only."""
        with Cluster(clouds=1, edges={"edge-1": {"sources": [{"type": "simulate", "measurement": "m", "every": "100ms"}], "flush": "1s"}}, streams=[STREAM]) as c:
            with contextlib.closing(Manager(c.dir)) as manager:
                cloud = manager.of(c.clouds["cloud-1"], WATCHDOG_S)
                c.start()
                for writer in ("log-writer", "state-writer") if LONG else ("log-writer",):
                    manager.drain()
                    with stopped_thread(cloud.process.pid, writer):
                        end = time.monotonic() + 28  # of HEALTH_JOB_MAX_NS
                        while time.monotonic() < end:
                            if manager.silent_for(3 * WATCHDOG_S):
                                self.assertGreater(time.monotonic(), end, "a slow disk is no hang")
                        wait_for("it is not fed", lambda: manager.silent_for(3 * WATCHDOG_S), 60)
                        self.assertEqual(status_of(c, "cloud-1", "/healthz"), 200)
                        if LONG:  # HEALTH_HANGS_NS
                            wait_for("/healthz says so", lambda: status_of(c, "cloud-1", "/healthz") == 503, 60)
                    manager.await_message("WATCHDOG")
                    self.assertEqual(status_of(c, "cloud-1", "/healthz"), 200)
                self.assertEqual(cloud.stop(), 0)

    def test_status_follows(self):
        with self.cluster() as c, contextlib.closing(Manager(c.dir)) as edges, contextlib.closing(Manager(c.dir, abstract=True)) as clouds:
            clouds.of(c.clouds["cloud-1"])
            edges.of(c.edges["edge-1"])
            c.start()
            clouds.await_message("STATUS", lambda s: s.startswith("ready; leads "))
            edges.await_message("STATUS", lambda s: " answers" in s)
            self.assertFalse([m for m in edges.heard + clouds.heard if "WATCHDOG" in m], "nobody asked for it")

    def test_refused_start(self):
        """Who cannot start is not ready, and says nothing else either."""
        with self.cluster() as c, contextlib.closing(Manager(c.dir)) as manager:
            for program, node in ((EDGED, "edge-1"), (CLOUDD, "cloud-1")):
                with socket.socket() as taken:
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # an earlier test's connections may linger there
                    taken.bind(("127.0.0.1", c.http[node]))
                    taken.listen()
                    r = subprocess.run([program, "--config", c.config, "--node", node], cwd=c.dir, capture_output=True,
                                       env={**os.environ, "NOTIFY_SOCKET": manager.address}, timeout=DEADLINE_S)
                self.assertEqual(r.returncode, 1, r.stderr)
                manager.drain()
                self.assertEqual({k for m in manager.heard for k in m}, {"EXTEND_TIMEOUT_USEC"})

    def test_environment_of_programs(self):
        """What is for the daemon only is not for what it starts."""
        with self.cluster(sources=[{"type": "exec", "name": "p", "command": ["sh", "-c", "env > $OUT.new; mv $OUT.new $OUT; exec sleep 600"]}]) as c:
            with contextlib.closing(Manager(c.dir)) as manager:
                out = os.path.join(c.dir, "environment")
                edge = manager.of(c.edges["edge-1"], WATCHDOG_S)
                edge.env.update({"OUT": out, "CREDENTIALS_DIRECTORY": c.dir, "KEPT": "x"})
                edge.start()
                wait_for("the program", lambda: os.path.exists(out))
                with open(out) as f:
                    names = {line.split("=")[0] for line in f}
                self.assertIn("KEPT", names)
                self.assertFalse(names & {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY"})
                manager.await_message("READY")
                self.assertEqual(edge.stop(), 0)


class Start(unittest.TestCase):
    NODES = ((EDGED, "edge-1"), (CLOUDD, "cloud-1"))

    def cluster(self, **keys):
        return Cluster(clouds=1, edges={"edge-1": {}}, streams=[STREAM], **keys)

    def run_one(self, c, program, *args, **env):
        return subprocess.run([program, *args], cwd=c.dir, capture_output=True, text=True, env={**os.environ, **env}, timeout=DEADLINE_S)

    def test_environment_names_the_node(self):
        with self.cluster() as c:
            other = os.path.join(c.dir, "other")
            c.prepare_http()
            for program, node in self.NODES:
                r = self.run_one(c, program, "--check", WEIR_CONFIG=c.config, WEIR_NODE="nobody")
                self.assertEqual((r.returncode, "nobody" in r.stderr), (2, True), r.stderr)
                r = self.run_one(c, program, "--check", "--node", node, WEIR_CONFIG=c.config, WEIR_NODE="nobody")
                self.assertEqual(r.returncode, 0, r.stderr)  # what is given goes before
                r = self.run_one(c, program, WEIR_CONFIG="", WEIR_NODE=node)
                self.assertEqual((r.returncode, "WEIR_CONFIG" in r.stderr), (2, True), r.stderr)
                r = self.run_one(c, program, "--config", c.config, WEIR_NODE="")
                self.assertEqual((r.returncode, "WEIR_NODE" in r.stderr), (2, True), r.stderr)
                process = subprocess.Popen([program], cwd=c.dir, stderr=subprocess.DEVNULL,
                                           env={**os.environ, "WEIR_CONFIG": c.config, "WEIR_NODE": node, "WEIR_DATA": f"{other}/{node}"})
                try:
                    wait_for(f"{node} answers", lambda: c.get(node, "/healthz"))
                    process.terminate()
                    self.assertEqual(process.wait(DEADLINE_S), 0)
                finally:
                    process.kill()
                    process.wait()
                self.assertTrue(os.listdir(os.path.join(other, node)))

    def test_a_stop_does_not_wait_for_opening(self):
        """A disk that takes for ever to be opened: a FIFO is where its data should be."""
        with self.cluster() as c, contextlib.closing(Manager(c.dir)) as manager:
            for daemon, folder in ((c.edges["edge-1"], "spool"), (c.clouds["cloud-1"], "log")):
                path = os.path.join(c.dir, "run", daemon.name, folder)
                os.makedirs(path)
                os.mkfifo(os.path.join(path, "data.mdb"))
                manager.of(daemon).start()
                manager.await_message("EXTEND_TIMEOUT_USEC")
                self.assertEqual(daemon.stop(), 0)
                self.assertIn("stopped while it opens", daemon.log())
                manager.drain()
            self.assertFalse([m for m in manager.heard if "READY" in m])

    def test_what_may_come_up_later_is_no_bad_use(self):
        """An address that this machine does not have yet, a name that does not resolve yet: 1, else 2."""
        with self.cluster(security=True) as c:
            node = c.spec["cloud"][0]
            for key, value, code in (("listen", "tcp://192.0.2.1:7101", 1), ("listen", "tcp://node.invalid:7101", 1),
                                     ("http", "192.0.2.1:8101", 1), ("http", "nonsense", 2)):
                before = node[key]
                node[key] = value
                c.write_config()
                c.prepare_http()
                r = self.run_one(c, CLOUDD, "--config", c.config, "--node", "cloud-1")
                self.assertEqual(r.returncode, code, r.stderr)
                node[key] = before
            edge = c.spec["edges"][0]
            edge["http"] = "192.0.2.1:8201"
            c.write_config()
            r = self.run_one(c, EDGED, "--config", c.config, "--node", "edge-1")
            self.assertEqual(r.returncode, 1, r.stderr)

    def test_problems_carry_a_priority_in_the_journal(self):
        with self.cluster() as c:
            c.prepare_http()
            for program, node in self.NODES:
                for wrong in ("nobody", "cloud-1" if node == "edge-1" else "edge-1"):
                    r = self.run_one(c, program, "--config", c.config, "--node", wrong, JOURNAL_STREAM="1:2")
                    self.assertEqual((r.returncode, len(r.stderr.splitlines())), (2, 1), r.stderr)
                    self.assertTrue(r.stderr.startswith("<3>") and wrong in r.stderr, r.stderr)
            c.spec["streams"][0]["windw"] = c.spec["streams"][0]["compte"] = "5m"
            c.write_config()
            for program, node in self.NODES:
                r = self.run_one(c, program, "--config", c.config, "--node", node, JOURNAL_STREAM="1:2")
                lines = r.stderr.splitlines()
                self.assertEqual((r.returncode, len(lines)), (2, 2), r.stderr)
                self.assertTrue(all(line.startswith(f"<3>{c.config}:") for line in lines), lines)

    def test_all_secrets_as_credentials(self):
        """As a unit for any node names them; DIR has no secret at all."""
        with self.cluster(security=True) as c:
            c.prepare_http()
            folder = os.path.join(c.dir, "credentials")
            os.mkdir(folder)
            for name, to in (("cloud-1.key", "weir.key"), ("cloud-1.tls.key", "weir.tls.key"), ("cloud-1.tls.crt", "weir.tls.crt"),
                             ("tokens", "tokens")):
                os.rename(os.path.join(c.keys, name), os.path.join(folder, to))
            cloud = c.clouds["cloud-1"]
            cloud.env = {"CREDENTIALS_DIRECTORY": folder}
            cloud.start()
            c.wait_ready()
            self.assertEqual(cloud.stop(), 0)


if __name__ == "__main__":
    unittest.main()
