"""The mqtt source against a real mosquitto: each QoS 1 message counts once, whoever dies and whatever breaks."""

import csv
import glob
import io
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
import unittest

import docs_example
from mqtt_broker import BreakingLink, Broker, Publisher, needs_broker
from weirtest import EDGED, Cluster, cloud_ledger, edge_ledger, http_get, metric_sum, parse_metrics, slow, wait_for

START = 1_700_000_000
VERSIONS = ("3.1.1", "5")


def source(port, version="5", **more):
    return dict({"type": "mqtt", "name": "v" + version[0], "broker": f"mqtt://127.0.0.1:{port}", "version": version}, **more)


def json_source(port, version, **more):
    """Numbered messages: v{N}/DEVICE {"n": N, "at": MS}."""
    topic = {"filter": f"v{version[0]}/+device", "format": "json", "measurement": "m" + version[0], "field": "n",
             "json": {"value": "n", "time": "at"}, "time_unit": "ms"}
    return source(port, version, topics=[topic], **more)


def cluster(sources, streams, clouds=1, **more):
    edge = {"sources": sources, "idle_after": "2s", "tick": "200ms", "flush": "200ms"}
    return Cluster(clouds=clouds, edges={"edge-1": edge}, streams=streams, cluster={"shards": 2, "replicas": 1}, **more)


def stream(name, measurement, field, by=()):
    return {"name": name, "from": {"measurement": measurement, "field": field}, "by": list(by), "window": "1m", "lateness": "1h",
            "compute": ["count", "sum", "min", "max"], "retain": "forever"}


def numbered(versions=VERSIONS):
    return [stream("s" + v[0], "m" + v[0], "n", ["device"]) for v in versions]


class Numbers:
    """Publishes 0, 1, 2 ... to each version's topics, from a thread of its own, and knows what the sums must be."""

    def __init__(self, port, count, versions=VERSIONS, qos=None, pace_s=0):
        self.port, self.count, self.versions, self.qos = port, count, versions, qos or {v: 1 for v in versions}
        self.pace_s = pace_s
        self.sent = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.idle = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.failed = None

    def _run(self):
        try:
            while self.sent < self.count:
                self.idle.set()
                self.go_on.wait()
                self.idle.clear()
                with Publisher(self.port) as p:
                    while self.sent < self.count and self.go_on.is_set():
                        self._burst(p)
                        time.sleep(self.pace_s)
        except Exception as e:  # told by finish()
            self.failed = e
        self.idle.set()

    def _burst(self, p):
        for n in range(self.sent, min(self.count, self.sent + 20)):
            for v in self.versions:
                p.publish(f"v{v[0]}/d{n % 3}", json.dumps({"n": n, "at": (START + n) * 1000}), self.qos[v])
        p.flush()
        self.sent = min(self.count, self.sent + 20)

    def start(self):
        self.thread.start()

    def pause(self):
        """Until the broker may be stopped."""
        self.go_on.clear()
        self.idle.wait(60)

    def end(self):
        """With what was sent by now."""
        self.pause()
        self.count = self.sent
        self.finish()

    def finish(self):
        self.go_on.set()
        self.thread.join(120)
        assert not self.failed and self.sent == self.count, (self.failed, self.sent)

    def check(self, c):
        for v in self.versions:
            c.wait_count("cloud-1", "s" + v[0], self.count)
            rows = c.query("cloud-1", "s" + v[0])["rows"]
            assert sum(r["values"]["sum"] for r in rows) == self.count * (self.count - 1) / 2, (v, rows)
        edge_ledger(c, "edge-1")
        cloud_ledger(c)


def start(c, sources=2):
    c.write_config()
    c.start()
    wait_for("subscriptions", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_source_mqtt_subscriptions") == sources)


def repeated(c):
    return metric_sum(c.metrics("edge-1"), "weir_edge_source_mqtt_repeated_total")


@needs_broker
@unittest.skipIf(not shutil.which("mosquitto_pub"), "not installed: mosquitto-clients")
class Exact(unittest.TestCase):
    def test_edge_is_killed(self):
        with cluster([], numbered()) as c, Broker(c.dir) as broker:
            qos = {"3.1.1": 1, "5": 2}
            c.spec["edges"][0]["sources"] += [json_source(broker.port, v, qos=qos[v]) for v in VERSIONS]
            start(c)
            numbers, dice, edge = Numbers(broker.port, 1 << 30, qos=qos), random.Random(1), c.edges["edge-1"]
            numbers.start()
            kills = 0
            while (numbers.sent < 1200 or kills < 3) and not numbers.failed:
                time.sleep(dice.uniform(0.1, 0.4))  # where in its work it is killed is the point
                edge.kill()
                edge.start()
                kills += 1
                c.wait_healthy("edge-1")
            numbers.end()
            numbers.check(c)

    def test_backlog(self):
        """More at the broker than the edge acknowledges without proof that the broker heard of it."""
        with cluster([], numbered(["5"])) as c, Broker(c.dir) as broker:
            c.spec["edges"][0]["sources"].append(json_source(broker.port, "5"))
            start(c, 1)
            c.edges["edge-1"].kill()
            count = 9000
            lines = "".join(json.dumps({"n": n, "at": (START + n) * 1000}) + "\n" for n in range(count))
            subprocess.run(["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", "v5/d", "-l"], input=lines, text=True, check=True)
            c.edges["edge-1"].start()
            c.wait_count("cloud-1", "s5", count)
            wait_for("proof", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_source_mqtt_unproven_messages") == 0)

    def test_acknowledgements_are_lost_with_the_edge(self):
        """Killed between the commit and the broker's hearing of it: only the packet ids in the checkpoint tell what has counted."""
        with cluster([], numbered()) as c, Broker(c.dir) as broker, BreakingLink(broker.port, 1, 4000) as a, \
                BreakingLink(broker.port, 2, 4000) as b:
            a.breaks = b.breaks = False
            c.spec["edges"][0]["sources"] += [json_source(link.port, v) for link, v in zip((a, b), VERSIONS)]
            start(c)
            a.swallows = b.swallows = True
            numbers = Numbers(broker.port, 40)
            with Publisher(broker.port) as p:
                numbers._burst(p)  # 20: mosquitto sends no more without an acknowledgement to 3.1.1
                for v in VERSIONS:
                    c.wait_count("cloud-1", "s" + v[0], 20)
                c.edges["edge-1"].kill()
                a.swallows = b.swallows = False
                c.edges["edge-1"].start()
                numbers._burst(p)
            numbers.check(c)
            self.assertGreaterEqual(repeated(c), 2 * 20)  # more where a connection broke beside

    @slow
    def test_readmission(self):
        """An old copy of the spool does not know what has counted: what the broker sends again is passed over, what is new counts."""
        with cluster([], numbered(["5"])) as c, Broker(c.dir) as broker, BreakingLink(broker.port, 1, 4000) as link:
            link.breaks = False
            c.spec["edges"][0]["sources"].append(json_source(link.port, "5"))
            start(c, 1)
            edge, spool = c.edges["edge-1"], os.path.join(c.dir, "run", "edge-1")
            numbers = Numbers(broker.port, 80, versions=["5"])
            with Publisher(broker.port) as p:
                numbers._burst(p)
                c.wait_count("cloud-1", "s5", 20)
                edge.stop()
                shutil.copytree(spool, spool + ".old")
                edge.start()
                numbers._burst(p)
                c.wait_count("cloud-1", "s5", 40)
                edge.stop()
                shutil.rmtree(spool)
                os.rename(spool + ".old", spool)
                edge.start()
                wait_for("a fence", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_uplink_state", state="fenced") == 1)
                wait_for("a connection", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_source_mqtt_connected") == 1)
                link.swallows = True
                numbers._burst(p)  # into the spool of before, and not acknowledged
                wait_for("messages", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_source_mqtt_messages_total") == 20)
                c.ctl("edge", "readmit", "edge-1")
                connects = metric_sum(c.metrics("edge-1"), "weir_edge_uplink_connects_total")
                c.clouds["cloud-1"].stop()  # a fenced edge asks each 10 s, and at once over a new connection
                wait_for("its absence", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_uplink_connects_total") > connects)
                c.clouds["cloud-1"].start()
                link.swallows = False
                wait_for("what is passed over", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_source_mqtt_passed_total") == 20)
                numbers._burst(p)
            c.wait_count("cloud-1", "s5", 60)
            edge_ledger(c, "edge-1")

    def test_link_breaks(self):
        with cluster([], numbered()) as c, Broker(c.dir) as broker, BreakingLink(broker.port, 1, 4000) as a, \
                BreakingLink(broker.port, 2, 4000) as b:
            c.spec["edges"][0]["sources"] += [json_source(link.port, v) for link, v in zip((a, b), VERSIONS)]
            start(c)
            numbers = Numbers(broker.port, 160)
            numbers.start()
            numbers.finish()
            wait_for("links to break", lambda: a.broken > 2 and b.broken > 2)
            a.breaks = b.breaks = False
            numbers.check(c)
            assert repeated(c) > 0

    def test_broker_is_restarted(self):
        with cluster([], numbered()) as c, Broker(c.dir) as broker:
            c.spec["edges"][0]["sources"] += [json_source(broker.port, v) for v in VERSIONS]
            start(c)
            numbers = Numbers(broker.port, 600)
            numbers.start()
            for at in (200, 400):
                wait_for("messages", lambda n=at: numbers.sent >= n)
                numbers.pause()
                if at == 400:
                    c.edges["edge-1"].kill()  # the broker's sessions outlive both
                broker.stop()
                broker.start()
                if at == 400:
                    c.edges["edge-1"].start()
                numbers.go_on.set()
            numbers.finish()
            numbers.check(c)
            # A barrier behind the last acknowledgements came back.
            wait_for("proof", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_source_mqtt_unproven_messages") == 0)


    def test_broker_loses_its_sessions(self):
        """Killed, and its database is gone: what had come to the edge counts once, and what is published once the edge has subscribed again
        does, too, though ids, topics and payloads are those of messages whose acknowledgement the broker never had."""
        with cluster([], numbered()) as c, Broker(c.dir) as broker, BreakingLink(broker.port, 1, 4000) as a, \
                BreakingLink(broker.port, 2, 4000) as b:
            a.breaks = b.breaks = False
            c.spec["edges"][0]["sources"] += [json_source(link.port, v) for link, v in zip((a, b), VERSIONS)]
            start(c)

            def publish():
                with Publisher(broker.port) as p:
                    for _ in range(20):
                        for v in VERSIONS:
                            p.publish(f"v{v[0]}/d", json.dumps({"n": 1, "at": START * 1000}))
                    p.flush()
            a.swallows = b.swallows = True
            publish()
            for v in VERSIONS:
                c.wait_count("cloud-1", "s" + v[0], 20)
            broker.process.kill()
            broker.process.wait()
            for name in os.listdir(os.path.join(c.dir, "broker")):
                if name.startswith("mosquitto.db"):
                    os.unlink(os.path.join(c.dir, "broker", name))
            wait_for("the end", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_source_mqtt_connected") == 0)
            a.swallows = b.swallows = False
            broker.start()
            wait_for("subscriptions", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_source_mqtt_subscriptions") == 2 and
                     metric_sum(c.metrics("edge-1"), "weir_edge_source_mqtt_lost_sessions_total") == 2)
            publish()
            for v in VERSIONS:
                c.wait_count("cloud-1", "s" + v[0], 40)
            self.assertEqual(repeated(c), 0)
            self.assertEqual(c.edges["edge-1"].log().count("the broker has no session any more"), 2)
            edge_ledger(c, "edge-1")


def groups(c, stream_name, value="sum"):
    """{group's values: value} over all windows."""
    out = {}
    for r in c.query("cloud-1", stream_name)["rows"]:
        key = tuple(r["group"].values())
        out[key] = out.get(key, 0) + r["values"][value]
    return out


def refused(c):
    return {dict(ls)["reason"]: v for (n, ls), v in c.metrics("edge-1").items() if n == "weir_edge_readings_refused_total" and v}


TOPICS = [
    {"filter": "site/+site/machine/+machine/temp", "format": "number", "measurement": "temp", "field": "c"},
    {"filter": "lines/+line/#", "format": "line", "time_unit": "s"},
    {"filter": "gw/+gw", "format": "json", "measurement": "power", "time_unit": "ms",
     "json": {"readings": "data.meters", "fields": {"w": "p.active", "v": "u[0]"}, "tags": {"meter": "id", "plant": "$.plant"},
              "time": "$.at"}},
    {"filter": "collectd/+host/+plugin/+type", "format": "collectd", "measurement": "collectd"},
]
FORMAT_STREAMS = [stream("temp", "temp", "c", ["site", "machine"]), stream("boiler", "boiler", "p", ["line", "unit"]),
                  stream("watts", "power", "w", ["gw", "meter", "plant"]), stream("volts", "power", "v", ["meter"]),
                  stream("load", "collectd", "value*", ["host", "type"])]


@needs_broker
class Payloads(unittest.TestCase):
    def test_formats(self):
        with cluster([], FORMAT_STREAMS) as c, Broker(c.dir) as broker:
            c.spec["edges"][0]["sources"].append(source(broker.port, topics=TOPICS))
            start(c, sources=len(TOPICS))
            with Publisher(broker.port) as p:
                for i in range(30):
                    p.publish(f"site/s {i % 2},=/machine/m{i % 3}/temp", f" {i}.5\n", qos=i % 3)
                p.publish("lines/l1/a/b", f"boiler,unit=3 p=1 {START}\nboiler,unit=4 p=2,q=3 {START + 60}")
                p.publish("gw/g1", json.dumps({"plant": "north", "at": START * 1000, "data": {"meters": [
                    {"id": 1, "p": {"active": 10.5}, "u": [230, 231]}, {"id": "two", "p": {"active": "20"}, "u": []}]}}))
                p.publish("collectd/h1/cpu-0/cpu-idle", f"{START}.250:42\0")
                p.publish("collectd/h1/interface-eth0/if_octets", f"{START}.250:1:nan\0")
                p.flush()
            c.wait_count("cloud-1", "temp", 30)
            self.assertEqual(groups(c, "temp")[("s 1,=", "m0")], 3.5 + 9.5 + 15.5 + 21.5 + 27.5)
            for name, want in (("boiler", {("l1", "3"): 1, ("l1", "4"): 2}),
                               ("watts", {("g1", "1", "north"): 10.5, ("g1", "two", "north"): 20}), ("volts", {("1",): 230}),
                               ("load", {("h1", "cpu-idle"): 42, ("h1", "if_octets"): 1})):
                c.wait_count("cloud-1", name, len(want))
                self.assertEqual(groups(c, name), want)
            times = {name: [r["start"] for r in c.query("cloud-1", name)["rows"]] for name in ("boiler", "watts", "load")}
            self.assertEqual(times, {"boiler": ["2023-11-14T22:13:00Z", "2023-11-14T22:14:00Z"], "watts": ["2023-11-14T22:13:00Z"] * 2,
                                     "load": ["2023-11-14T22:13:00Z"] * 2})
            self.assertEqual(refused(c), {})
            edge_ledger(c, "edge-1")

    def test_hostile(self):
        with cluster([], FORMAT_STREAMS) as c, Broker(c.dir) as broker:
            c.spec["edges"][0]["sources"].append(source(broker.port, topics=TOPICS))
            start(c, sources=len(TOPICS))
            with Publisher(broker.port) as p:
                bad = [("site/a/machine/b/temp", t) for t in ("", "x", "1 2", "nan", "1e999", "1,b=2", b"\0\xff")]
                bad += [("gw/g", t) for t in ("", "{", "[" * 100000, "{}", b"\xff", '{"data": {"meters": [1, null]}}',
                                              '{"at": "later", "data": {"meters": [{"p": {"active": 1}}]}}')]
                bad += [("collectd/h/p/t", t) for t in ("", ":", "1", "x:1", "1:x", "1:nan", ":".join("1" * 100))]
                bad += [("lines/l", t) for t in ("a b", "m f=1 zz", 'm f="1')]
                bad.append(("site/a/machine/b/temp", "1" * (1 << 21)))
                for topic, payload in bad:
                    p.publish(topic, payload)
                p.publish("site/a/machine/b/temp", "1" * (17 << 20))  # which the broker keeps from the edge
                p.publish("site/" + "x" * 60000 + "/machine/m/temp", "1")
                p.publish("site/good/machine/m/temp", "1")
                p.flush()
            wait_for("the good one", lambda: groups(c, "temp").get(("good", "m")) == 1)
            wait_for("an acknowledgement for each", lambda: metric_sum(
                c.metrics("edge-1"), "weir_edge_source_mqtt_messages_total") == len(bad) + 2)
            wait_for("each to be refused", lambda: sum(refused(c).values()) >= len(bad) + 2)
            self.assertEqual(sum(refused(c).values()), len(bad) + 2, refused(c))  # two in one payload, and the long topic
            self.assertLessEqual({"bad_payload", "bad_timestamp", "bad_number", "no_value", "too_long"}, set(refused(c)))
            edge_ledger(c, "edge-1")
            self.assertIn("topic=gw/g reason=bad_payload", c.edges["edge-1"].log())
            self.assertEqual(metric_sum(c.metrics("edge-1"), "weir_edge_source_mqtt_connections_total"), 1)

    def test_retained_and_qos(self):
        with cluster([], [stream("kept", "kept", "value", ["id"]), stream("qos", "qos", "value", ["qos"])]) as c, \
                Broker(c.dir) as broker, Publisher(broker.port) as p:
            p.publish("kept/x", "5", retain=True)
            p.flush()
            for v in VERSIONS:
                for take in (False, True):
                    topic = {"filter": "kept/#", "format": "number", "measurement": "kept"}
                    c.spec["edges"][0]["sources"].append(
                        source(broker.port, v, name=f"kept-{v[0]}-{take}", topics=[topic], retained=take))
            c.spec["edges"][0]["sources"] += [
                source(broker.port, name=f"q{q}", qos=q, topics=[{"filter": "+qos/n", "format": "number", "measurement": "qos"}])
                for q in range(3)]
            start(c, 7)
            c.wait_count("cloud-1", "kept", 2)
            c.edges["edge-1"].kill()
            c.edges["edge-1"].start()
            for name in ("kept-3-False", "kept-3-True", "kept-5-True", "q0", "q1", "q2"):
                wait_for(name, lambda n=name: metric_sum(c.metrics("edge-1"), "weir_edge_source_mqtt_connected", source=n) == 1)
            wait_for("what is kept", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_source_mqtt_retained_total"))
            for n in range(60):
                p.publish(f"q{n % 3}/n", "1", qos=n % 3)
            p.publish("kept/x", "7")
            p.flush()
            c.wait_count("cloud-1", "qos", 180)
            c.wait_count("cloud-1", "kept", 6)
            self.assertEqual(sum(groups(c, "kept").values()), 5 + 5 + 4 * 7)


@needs_broker
class Changes(unittest.TestCase):
    def test_topics_change_while_it_runs(self):
        """The session goes on: what is subscribed no more is unsubscribed, what waits there is told apart."""
        with cluster([], [stream("t", "t", "value", ["id"])]) as c, Broker(c.dir) as broker, Publisher(broker.port) as p:
            topics = [{"filter": f + "/+id", "format": "number", "measurement": "t"} for f in ("a", "b", "c")]
            c.spec["edges"][0]["sources"] = [source(broker.port, v, topics=topics[:2]) for v in VERSIONS]
            start(c, 4)
            for t in ("a/1", "b/1"):
                p.publish(t, "1")
            p.flush()
            c.wait_count("cloud-1", "t", 4)
            for s in c.spec["edges"][0]["sources"]:
                s["topics"] = topics[1:]
            c.write_config()
            c.ctl("apply", "--yes", c.config)
            log = c.edges["edge-1"].log
            wait_for("sessions that go on", lambda: log().count("session=resumed") >= 2)
            wait_for("subscriptions", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_source_mqtt_subscriptions") == 4)
            for t in ("a/2", "b/2", "c/2"):
                p.publish(t, "1")
            p.flush()
            c.wait_count("cloud-1", "t", 8)
            self.assertEqual(refused(c), {})
            edge_ledger(c, "edge-1")


    def test_reopened_while_messages_come(self):
        """Another configuration of the source, again and again: it is closed and opened in the midst of what comes, and each message counts
        once; killed once, where the map is new."""
        with cluster([], numbered()) as c, Broker(c.dir) as broker:
            edge = c.spec["edges"][0]
            edge["heartbeat"] = "200ms"
            edge["sources"] += [json_source(broker.port, v) for v in VERSIONS]
            start(c)
            numbers = Numbers(broker.port, 1 << 30, pace_s=0.02)
            numbers.start()
            for k in range(3):
                before = numbers.sent
                wait_for("messages", lambda n=before: numbers.sent > n)
                for s in edge["sources"]:
                    s["keepalive"] = f"{30 + k}s"
                c.write_config()
                version = c.api("cloud-1", "topology")["version"]
                c.ctl("apply", "--yes", c.config)
                wait_for("the edge to go by it", lambda v=version: metric_sum(c.metrics("edge-1"), "weir_edge_map_version") > v)
                if k == 1:
                    c.edges["edge-1"].kill()
                    c.edges["edge-1"].start()
                    c.wait_healthy("edge-1")
            wait_for("sessions that go on", lambda: c.edges["edge-1"].log().count("session=resumed") >= 2 * 4)
            numbers.end()
            numbers.check(c)


@needs_broker
class Full(unittest.TestCase):
    def test_no_room(self):
        """No cloud takes anything: the edge fills up and stops reading, the broker keeps the rest, and all of it counts in the end."""
        with cluster([], [stream("t", "t", "n", ["device"])]) as c, Broker(c.dir) as broker:
            edge = c.spec["edges"][0]
            edge["limits"] = {"disk": "1MiB"}
            edge["sources"].append(source(broker.port, topics=[{"filter": "lines", "format": "line"}]))
            c.write_config()
            c.start_edges()
            wait_for("subscriptions", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_source_mqtt_subscriptions") == 1)
            # How much fits depends on how many readings are packed together, so on how busy the machine is.
            sent, lines = 0, 100
            with Publisher(broker.port) as p:
                def the_rest_waits():
                    nonlocal sent
                    for m in range(sent, sent + 100):
                        p.publish("lines", "".join(f"t,device={m}-{n} n={n} {START}000000000\n" for n in range(lines)))
                    p.flush()
                    sent += 100
                    came = metric_sum(c.metrics("edge-1"), "weir_edge_source_mqtt_messages_total")
                    return "sources are not read" in c.edges["edge-1"].log() and came <= sent - 100
                wait_for("no room", the_rest_waits)
            c.clouds["cloud-1"].start()
            c.wait_ready()
            c.wait_count("cloud-1", "t", sent * lines)
            edge_ledger(c, "edge-1")


def certificates(folder):
    """A CA, and a certificate of it for the broker and one for the edge."""
    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.crt",
            "-subj", "/CN=test CA", "-days", "2")
    for name in ("broker", "edge"):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name + ".key", "-out", name + ".csr",
                "-subj", "/CN=" + name)
        with open(os.path.join(folder, name + ".ext"), "w") as f:
            f.write("subjectAltName=IP:127.0.0.1\n")
        openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", name + ".crt",
                "-days", "2", "-extfile", name + ".ext")


def write_secret(path, text):
    with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        f.write(text)
    os.replace(path + ".new", path)


@needs_broker
@unittest.skipIf(not shutil.which("openssl") or not shutil.which("mosquitto_pub"), "not installed: openssl or mosquitto-clients")
class Secured(unittest.TestCase):
    def test_tls_and_password(self):
        topic = {"filter": "t", "format": "number", "measurement": "t"}
        with cluster([], [stream("t", "t", "value")]) as c:
            certificates(c.dir)
            port, plain = (Broker(c.dir).port for _ in range(2))
            passwords = os.path.join(c.dir, "passwords")
            subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "edge", "right"], check=True)
            secret = os.path.join(c.dir, "secret")
            tls = {"ca_file": "ca.crt", "cert_file": "edge.crt", "key_file": "edge.key"}
            write_secret(secret, "wrong\n")
            extra = (f"per_listener_settings true\nlistener {port} 127.0.0.1\ncafile {c.dir}/ca.crt\ncertfile {c.dir}/broker.crt\n"
                     f"keyfile {c.dir}/broker.key\nrequire_certificate true\npassword_file {passwords}\nallow_anonymous false\n"
                     f"listener {plain} 127.0.0.1\nallow_anonymous true\n")
            url, foreign = f"mqtts://127.0.0.1:{port}", os.path.join(c.dir, "broker.crt")
            c.spec["edges"][0]["sources"] = [
                {"type": "mqtt", "name": name, "broker": url, "version": v, "user": "edge", "password_file": "secret", "tls": t,
                 "topics": [topic]}
                for name, v, t in (("a", "3.1.1", tls), ("b", "5", tls), ("stranger", "5", {**tls, "ca_file": foreign}))]
            os.chmod(os.path.join(c.dir, "edge.key"), 0o600)
            c.write_config()
            with Broker(c.dir, extra, plain) as broker:
                c.start()
                edge = c.edges["edge-1"]
                for words in ("look at `user`, `password_file`", "certificate verify failed"):
                    wait_for(words, lambda w=words: w in edge.log())
                self.assertNotIn("wrong", edge.log())
                write_secret(secret, "right\n")
                wait_for("subscriptions", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_source_mqtt_subscriptions") == 2)
                lines = "".join(f"{n}\n" for n in range(5000))
                subprocess.run(["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", "t", "-l"], input=lines, text=True, check=True)
                c.wait_count("cloud-1", "t", 10000)


COLLECTD = shutil.which("collectd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


@needs_broker
@unittest.skipIf(not shutil.which("mosquitto_pub"), "not installed: mosquitto-clients")
class Page(unittest.TestCase):
    def example(self, then):
        with docs_example.Example("docs/sources/mqtt.md") as e:
            with Broker(e.dir, port=int(e.port["1883"]), config=os.path.join(e.dir, "mosquitto.conf")):
                e.start()
                wait_for("subscriptions", lambda: metric_sum(parse_metrics(http_get(
                    f"http://127.0.0.1:{e.port['8201']}/metrics")), "weir_edge_source_mqtt_subscriptions") == 4)
                then(e)

    def test_page(self):
        self.example(lambda e: e.run_blocks())

    @unittest.skipIf(not COLLECTD, "not installed: collectd-core")
    def test_collectd(self):
        """collectd itself, with its mqtt plug-in, and no program of ours in between: what its own files have is what counts,
        though the edge is killed in the middle."""
        def run(e):
            with open(os.path.join(e.dir, "more.conf"), "w") as f:
                f.write(f'LoadPlugin csv\n<Plugin csv>\n DataDir "{e.dir}/csv"\n</Plugin>\nInclude "{e.dir}/collectd.conf"\n')
            with open(os.path.join(e.dir, "collectd.log"), "wb") as log:
                collectd = subprocess.Popen([COLLECTD, "-f", "-C", "more.conf", "-P", os.path.join(e.dir, "pid")], cwd=e.dir,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

            def written():
                total = 0
                for path in glob.glob(os.path.join(e.dir, "csv", "gw-1", "load", "*")):
                    with open(path) as f:
                        total += 3 * (len(f.readlines()) - 1)  # of 1, 5 and 15 minutes, below a heading
                return total

            def counted():
                rows = csv.DictReader(io.StringIO(e.command("weirctl query load --select count -o csv").stdout))
                return sum(int(r["count"]) for r in rows if r["host"] == "gw-1")
            def rests_and_is_counted():
                collectd.send_signal(signal.SIGSTOP)
                try:
                    wait_for("all of it", lambda: 0 < written() == counted(), 10)
                    return True
                except AssertionError:  # it rests between its file and the broker
                    return False
                finally:
                    collectd.send_signal(signal.SIGCONT)
            try:
                wait_for("load averages of gw-1", counted)
                name, edge = e.daemons.pop()
                edge.kill()
                edge.wait()
                before = written()
                wait_for("what is measured meanwhile", lambda: written() >= before + 6)
                e.start_daemon(EDGED, name)
                # It goes on each second, which may be sooner than all of it is counted: it rests now and then, between two of its turns.
                wait_for("each value once", rests_and_is_counted)
            finally:
                collectd.send_signal(signal.SIGCONT)
                collectd.terminate()
                collectd.wait(60)
        self.example(run)
