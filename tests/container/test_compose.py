"""deploy/docker/docker-compose.yaml, as it is shipped: data on the dashboard within a minute, and exact results whatever is killed, cut off
or scaled down. The tests go through the life of one system, in this order."""

import contextlib
import json
import os
import ssl
import threading
import time
import unittest
import urllib.parse
import urllib.request

import engine
import images
from weirtest import ApiError, Awake, free_port, http_get, wait_for

FILE = os.path.join(images.DEPLOY, "docker-compose.yaml")
GENERATORS = ("load", "publish")
NODES = ("cloud-1", "cloud-2", "cloud-3")
PAUSE_S = 0.05  # between two lots of a count that goes on


def told_in_page():
    """The words after the file of each line of the page that asks something of containers that run."""
    head = "    docker-compose -f deploy/docker/docker-compose.yaml "
    with open(os.path.join(engine.ROOT, "docs", "docker.md")) as f:
        lines = [line.removeprefix(head).split() for line in f if line.startswith(head)]
    asked = [line for line in lines if line[0] in ("exec", "run")]
    assert len(asked) > 4, lines
    return asked


class System:
    """The project of the shipped file, with images and ports of this machine."""

    def __init__(self):
        self.eng = engine.current
        other = images.others(self.eng)
        self.ports = {name: free_port() for name in ("WEIR_PORT", "WEIR_PORT_2", "WEIR_PORT_3", "WEIR_WRITE_PORT", "WEIR_PROMETHEUS_PORT")}
        self.env = {"COMPOSE_PROJECT_NAME": self.eng.project("compose"), "WEIR_IMAGE": images.weir(self.eng), "MOSQUITTO_IMAGE": other,
                    "PROMETHEUS_IMAGE": other, **{k: str(v) for k, v in self.ports.items()}}
        self.project = self.env["COMPOSE_PROJECT_NAME"]
        self.urls = {"cloud-1": f"https://127.0.0.1:{self.ports['WEIR_PORT']}", "cloud-2": f"https://127.0.0.1:{self.ports['WEIR_PORT_2']}",
                     "cloud-3": f"https://127.0.0.1:{self.ports['WEIR_PORT_3']}", "edge-2": f"https://127.0.0.1:{self.ports['WEIR_WRITE_PORT']}"}
        self.tokens, self.context = {}, None

    def compose(self, *args, check=True, timeout=300):
        return self.eng.compose("-f", FILE, *args, cwd=images.DEPLOY, env=self.env, check=check, timeout=timeout)

    def container(self, service):
        return f"{self.project}_{service}_1"

    def exec(self, service, *command, input=None, check=True):
        return self.eng.docker("exec", *(["-i"] if input is not None else []), self.container(service), *command, input=input, check=check)

    def weirctl(self, *words, node="cloud-1"):
        return self.exec(node, "weirctl", *words).stdout

    def learn_tokens(self):
        """As a user does: out of a cloud's container."""
        for role in ("read", "write"):
            self.tokens[role] = self.exec("cloud-1", "cat", f"/etc/weir/keys/{role}.token").stdout.strip()
        self.context = ssl.create_default_context(cadata=self.exec("cloud-1", "cat", "/etc/weir/keys/ca.crt").stdout)

    def get(self, node, path):
        return http_get(self.urls[node] + path, token=self.tokens["read"], context=self.context)

    def rows(self, node, **params):
        params = {"stream": "temperature", **params}
        rows, cursor = [], {}
        while True:
            answer = json.loads(self.get(node, "/api/v1/query?" + urllib.parse.urlencode({**params, **cursor})))
            rows += answer["rows"]
            if not answer["next"]:
                return rows
            cursor = {"cursor": answer["next"]}

    def counted(self, node="cloud-1"):
        """{sensor: (count, sum)} of the test's own sensors, over all windows."""
        out = {}
        for row in self.rows(node, by="sensor", select="count,sum"):
            sensor = row["group"]["sensor"]
            if sensor.startswith("t-"):
                n, total = out.get(sensor, (0, 0))
                out[sensor] = (n + row["values"]["count"], total + row["values"]["sum"])
        return out

    def edges(self, node="cloud-1"):
        return {e["name"]: e for e in json.loads(self.get(node, "/api/v1/edges"))["edges"]}

    def health(self, service):
        return self.eng.inspect(self.container(service))["State"]["Health"]["Status"]

    def wait_ready(self, *nodes):
        for node in nodes:
            wait_for(f"{node} ready", lambda node=node: self.get(node, "/readyz"))


class Count:
    """Readings that are sent in lots, to both sites at once, and what must come of them. Their values are whole numbers, so that sums are
    exact. What is published at QoS 1 has been taken by the broker, what is written over HTTP is durable at the edge."""

    def __init__(self, system):
        self.system, self.sent, self.sequence = system, {}, 0
        self.stopping, self.thread, self.failed = threading.Event(), None, None

    def lot(self, sensor, lines):
        out, now = [], time.time_ns()
        for i in range(lines):
            self.sequence += 1
            value = self.sequence % 1000
            out.append(f"machine,sensor={sensor} temperature={value} {now + i}\n")
            n, total = self.sent.get(sensor, (0, 0))
            self.sent[sensor] = (n + 1, total + value)
        return "".join(out)

    def publish(self, lines=40):
        lot = self.lot("t-mqtt", lines)
        self.system.exec("broker", "mosquitto_pub", "-h", "127.0.0.1", "-t", "machines", "-q", "1", "-l", input=lot)

    def write(self, lines=40):
        body = self.lot("t-http", lines).encode()
        request = urllib.request.Request(self.system.urls["edge-2"] + "/write", data=body, method="POST",
                                         headers={"Authorization": "Bearer " + self.system.tokens["write"]})
        with urllib.request.urlopen(request, timeout=30, context=self.system.context) as r:
            assert r.status == 204, r.status

    def _go_on(self):
        try:
            while not self.stopping.wait(PAUSE_S):
                self.publish()
                self.write()
        except Exception as e:  # noqa: BLE001: told by the one who waits
            self.failed = e

    @contextlib.contextmanager
    def going_on(self):
        """While the body runs, and one lot more after it."""
        self.stopping.clear()
        self.thread = threading.Thread(target=self._go_on)
        self.thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            self.thread.join()
        if self.failed:
            raise self.failed
        self.publish()
        self.write()

    def wait_exact(self, node="cloud-1"):
        def exact():
            got = self.system.counted(node)
            more = {k: v for k, v in got.items() if v[0] > self.sent[k][0]}
            assert not more, f"counted more than was sent: {more} of {self.sent}"
            return got == self.sent
        try:
            wait_for(f"{self.sent} at {node}", exact)
        except AssertionError as e:
            raise AssertionError(f"{e}; there are {self.system.counted(node)}") from None


class Compose(unittest.TestCase):
    seconds = 90

    @classmethod
    def setUpClass(cls):
        cls.s = System()
        cls.count = Count(cls.s)
        cls.addClassCleanup(cls.s.compose, "down", "-v", "--timeout", "1", check=False)

    def setUp(self):
        self.addCleanup(self.tell)

    def tell(self):
        outcome = getattr(self, "_outcome", None)
        if outcome is not None and not outcome.success:
            print(self.s.compose("ps", check=False).stdout)
            print(self.s.compose("logs", "--no-color", "--tail", "15", check=False).stdout)

    def test_1_up_shows_data_within_a_minute(self):
        def both_sites():
            return {r["group"]["site"] for r in self.s.rows("cloud-1", by="site")} == {"north", "south"}
        with Awake() as clock:
            began = clock.now()
            self.s.compose("up", "-d")
            self.s.learn_tokens()
            page = wait_for("the dashboard", lambda: http_get(self.s.urls["cloud-1"] + "/", context=self.s.context))
            self.assertIn("<html", page)
            wait_for("data of both sites", both_sites)
            seconds = clock.now() - began
        print(f"data of both sites {seconds:.1f} s after `up`")
        self.assertLess(seconds, 60)

    def test_2_what_a_newcomer_is_told_to_type(self):
        told = self.s.exec("cloud-1", "weir-dashboard").stdout
        self.assertIn(f"https://127.0.0.1:{self.s.ports['WEIR_PORT']}/", told)
        self.assertEqual(told.split()[-1], self.s.tokens["read"])
        wait_for("all nodes", lambda: "3 of 3 nodes answer" in self.s.exec("cloud-1", "weirctl", "status", check=False).stdout)
        wait_for("nothing wrong", lambda: self.s.exec("cloud-1", "weirctl", "doctor", check=False).returncode == 0)  # of what starts
        for words in told_in_page():
            if words[0] == "exec":  # as docker-compose does it, which takes a second to begin
                self.s.exec(*words[1:])
            else:
                self.s.compose("run", "-T", *words[1:])
        with self.assertRaises(ApiError):  # the token that is shown may only read
            http_get(self.s.urls["edge-2"] + "/query?q=x", token=self.s.tokens["read"], context=self.s.context)

    def test_3_nobody_has_more_rights_than_he_needs(self):
        for service in (*NODES, "edge-1", "edge-2", "broker", "prometheus", *GENERATORS):
            with self.subTest(service):
                told = self.s.eng.inspect(self.s.container(service))
                self.assertTrue(told["HostConfig"]["ReadonlyRootfs"])
                self.assertEqual(told["HostConfig"]["CapDrop"], ["ALL"])
                # No volume without a name, which `down` would leave. (The image that stands for Prometheus' has the broker's, too.)
                unnamed = {m["Destination"] for m in told["Mounts"] if m["Type"] == "volume" and not m["Name"].startswith(self.s.project)}
                self.assertEqual(unnamed - ({"/mosquitto/data", "/mosquitto/log"} if service == "prometheus" else set()), set())
                text = self.s.exec(service, "cat", "/proc/1/status").stdout
                status = {k: v.split() for k, _, v in (line.partition(":") for line in text.splitlines())}
                self.assertNotIn("0", status["Uid"])
                self.assertEqual(status["NoNewPrivs"], ["1"])
                self.assertEqual({int(status[c][0], 16) for c in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}, {0})
        seen = self.s.exec("prometheus", "ls", "/etc/weir/access").stdout.split()
        self.assertEqual(seen, ["ca.crt", "read.token", "write.token"])
        self.assertNotEqual(self.s.exec("prometheus", "cat", "/etc/weir/access/write.token", check=False).returncode, 0)
        self.assertNotEqual(self.s.exec("prometheus", "ls", "/etc/weir/keys", check=False).returncode, 0)

    def test_4_results_are_exact(self):
        self.s.compose("stop", "--timeout", "5", *GENERATORS)
        for _ in range(10):
            self.count.publish(100)
            self.count.write(100)
        self.count.wait_exact()

        def ledger():  # what the edges say that they have accepted; they say it with their next heartbeat
            accepted = sum(e["accepted"] for e in self.s.edges().values())
            return accepted if sum(r["values"]["count"] for r in self.s.rows("cloud-2", by="", select="count")) == accepted else None
        accepted = wait_for("all that the edges have accepted", ledger)
        listed = json.loads(self.s.weirctl("-o", "json", "query", "temperature", "--by", "", "--select", "count"))
        self.assertEqual(sum(r["values"]["count"] for r in listed["rows"]), accepted)

    def test_5_prometheus_reads_the_same(self):
        def closed():
            return all(r["state"] != "open" for r in self.s.rows("cloud-1", by="sensor", select="count"))
        wait_for("all windows closed", closed)
        base = f"http://127.0.0.1:{self.s.ports['WEIR_PROMETHEUS_PORT']}"
        query = urllib.parse.urlencode({"query": 'sum by (sensor) (sum_over_time(weir:temperature:count{sensor=~"t-.*"}[1h]))',
                                        "time": time.time() + 60})
        answer = json.loads(http_get(f"{base}/api/v1/query?{query}"))
        self.assertEqual((answer["status"], answer.get("warnings")), ("success", None))
        got = {r["metric"]["sensor"]: int(r["value"][1]) for r in answer["data"]["result"]}
        self.assertEqual(got, {sensor: n for sensor, (n, _) in self.count.sent.items()})
        targets = json.loads(http_get(f"{base}/api/v1/targets"))["data"]["activeTargets"]
        self.assertEqual({t["labels"]["job"] for t in targets}, {"weir-cloud", "weir-edge"})
        wait_for("all targets up", lambda: {t["health"] for t in json.loads(http_get(f"{base}/api/v1/targets"))["data"]["activeTargets"]} == {"up"})
        rules = json.loads(http_get(f"{base}/api/v1/rules"))["data"]["groups"]
        self.assertTrue(rules and all(r["health"] != "err" for g in rules for r in g["rules"]), rules)

    def test_6_a_cloud_container_is_killed(self):
        for service in (*NODES, "edge-1", "edge-2"):
            wait_for(f"{service} healthy", lambda service=service: self.s.health(service) == "healthy")
        with self.count.going_on():
            self.s.eng.docker("kill", self.s.container("cloud-1"))
            before = self.count.sent["t-http"][0]
            wait_for("answers without it, of what was sent since", lambda: self.s.counted("cloud-2").get("t-http", (0,))[0] > before)
            self.s.eng.docker("start", self.s.container("cloud-1"))
            self.s.wait_ready("cloud-1")
        for node in NODES:
            self.count.wait_exact(node)

    def test_7_an_edge_loses_its_network(self):
        network, edge = f"{self.s.project}_cluster", self.s.container("edge-1")
        with self.count.going_on():
            self.s.eng.docker("network", "disconnect", network, edge)
            before = self.count.sent["t-mqtt"][0]
            wait_for("some to be published meanwhile", lambda: self.count.sent["t-mqtt"][0] > before + 200)
            self.assertLess(self.s.counted()["t-mqtt"][0], before + 200)
            self.s.exec("edge-1", "weirctl", "healthy")  # it measures on
            self.s.eng.docker("network", "connect", "--alias", "edge-1", network, edge)
        self.count.wait_exact()

    def test_8_scaled_down_and_up(self):
        quiet = [word for g in GENERATORS for word in ("--scale", f"{g}=0")]
        with self.count.going_on():
            self.s.compose("up", "-d", "--no-recreate", *quiet, "--scale", "cloud-3=0")
            self.assertEqual(self.s.eng.docker("ps", "-aq", "--filter", f"name={self.s.container('cloud-3')}").stdout, "")
            before = self.count.sent["t-http"][0]
            wait_for("answers of two", lambda: self.s.counted()["t-http"][0] > before)
        self.s.compose("up", "-d", "--no-recreate", *quiet, "--scale", "edge-2=0")  # maybe with readings that it has not sent yet
        self.count.publish()
        self.s.wait_ready("cloud-3")
        wait_for("all of edge-1", lambda: self.s.counted("cloud-3")["t-mqtt"] == self.count.sent["t-mqtt"])
        self.s.compose("up", "-d", "--no-recreate", *quiet)
        wait_for("edge-2 to write to", lambda: http_get(self.s.urls["edge-2"] + "/healthz", context=self.s.context))
        self.count.write()
        for node in NODES:
            self.count.wait_exact(node)
        accepted = {name: e["accepted"] for name, e in self.s.edges().items()}
        self.assertGreaterEqual(accepted["edge-2"], self.count.sent["t-http"][0])  # its ledger was in its volume

    def test_9_down_leaves_nothing(self):
        codes = []
        for service in (*NODES, "edge-1", "edge-2"):
            self.s.eng.docker("stop", "--time", "60", self.s.container(service))
            codes.append(self.s.eng.inspect(self.s.container(service))["State"]["ExitCode"])
        self.assertEqual(codes, [0] * 5)
        self.s.compose("down", "-v", "--timeout", "5")
        mine = ["--filter", f"label=com.docker.compose.project={self.s.project}"]
        for listing in (["ps", "-aq"], ["network", "ls", "-q"], ["volume", "ls", "-q"]):
            self.assertEqual(self.s.eng.docker(*listing, *mine).stdout, "", listing)
