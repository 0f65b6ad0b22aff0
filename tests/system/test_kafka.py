"""The sink kafka, against librdkafka's own mock cluster: every row, at least once, in order for each key, through brokers and leaders that
come and go; formats, compression, and what is not about the rows."""

import datetime
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import docs_example
import kafka_mock
from kafka_door import Door, context_of
from kafka_mock import Mock
from test_failover import wait_led
from test_mqtt import certificates
from test_sinks import STATES, closed, cluster, feed, sink_sum, wait_equal
from weirtest import ROOT, wait_for

# Kafka's numbers of errors.
UNKNOWN_TOPIC, TOO_LARGE, NOT_ENOUGH_REPLICAS, INVALID_RECORD = 3, 10, 19, 87
NONE = 0


def kafka(k, **more):
    return {"name": "k", "type": "kafka", "brokers": k.bootstrap, **more}


def one_cloud(sinks):
    return cluster(sinks, clouds=1, cluster={"replicas": 1, "shards": 1})


def by_key(records):
    out = {}
    for r in records:
        out.setdefault(r.key, []).append(r)
    return out


@kafka_mock.needed
class Kafka(unittest.TestCase):
    def check_records(self, records):
        """Headers say what the value says; all of a key is in one partition; what a revision replaces comes before it."""
        for key, mine in by_key(records).items():
            self.assertEqual(len({r.partition for r in mine}), 1, key)
            self.assertEqual([r.offset for r in mine], sorted(r.offset for r in mine))
            news = {}
            for r in mine:
                row = json.loads(r.value)
                self.assertEqual(json.loads(key), {"stream": row["stream"], "group": row["group"]})
                self.assertEqual(r.headers, {"weir-id": row["id"], "weir-revision": str(row["revision"]), "weir-state": row["state"],
                                             "content-type": "application/json"})
                rank, ranks = (row["revision"], STATES.index(row["state"])), news.setdefault(row["start"], [])
                if rank not in ranks:
                    ranks.append(rank)
            for start, ranks in news.items():
                self.assertEqual(ranks, sorted(ranks), (key, start))

    def test_exact_through_brokers_and_leaders_that_come_and_go(self):
        with Mock() as k, cluster([kafka(k, topic="weir.{stream}", compression="zstd")]) as c:
            k.command("topic weir.s 6")
            k.command("consume weir.s 6")
            feed(c, 0, 60)
            c.start()
            wait_equal(c, "cloud-1", lambda: k.rows("weir.s"), 6 * 20)
            k.command("down 1")
            k.command(f"inject 3 {NOT_ENOUGH_REPLICAS}")
            feed(c, 60, 30)
            wait_for("the broker is missed", lambda: any("Connection refused" in d.log() for d in c.clouds.values()))
            victim = wait_led(c)[0]
            c.clouds[victim].kill()
            k.command("up 1")
            other = next(n for n in c.cloud_names if n != victim)
            wait_equal(c, other, lambda: k.rows("weir.s"), 9 * 20)
            k.command(f"inject 2 {INVALID_RECORD}")  # for good, says the broker: nothing is passed over for that
            feed(c, 90, 31)
            wait_equal(c, other, lambda: k.rows("weir.s"), 13 * 20)
            feed(c, 121, 9)
            c.wait_count(other, "s", 130 * 20)
            wait_equal(c, other, lambda: k.rows("weir.s"), 13 * 20)
            self.assertIn("2", {r.headers["weir-revision"] for r in k.records})
            self.check_records(k.records)
            others = [n for n in c.cloud_names if n != victim]
            self.assertEqual(sink_sum(c, "rejected_rows_total", "k", others), 0)
            wait_for("nothing waits", lambda: sink_sum(c, "backlog_rows", "k", others) == 0)

    def test_what_is_not_about_the_rows_is_told_of_and_waited_for(self):
        with Mock(1) as k, one_cloud([kafka(k, timeout="2s")]) as c:
            k.command("topic weir 4")
            k.command(f"fail weir {UNKNOWN_TOPIC}")
            feed(c, 0, 61)
            c.start()
            wait_for("a reason", lambda: re.search("cannot deliver, which is tried again: topic weir: .*Unknown topic", c.clouds["cloud-1"].log()))
            wait_for("it fails", lambda: sink_sum(c, "up", "k") == 0)
            k.command(f"inject 3 {TOO_LARGE}")  # then, in pieces
            k.command(f"fail weir {NONE}")
            k.command("consume weir 4")
            wait_equal(c, "cloud-1", lambda: k.rows("weir"), 7 * 20)
            wait_for("what was too large is counted", lambda: sink_sum(c, "kafka_too_large_total", "k") > 0)
            self.assertEqual(sink_sum(c, "rejected_rows_total", "k"), 0)
            k.command("down 1")
            feed(c, 61, 30)
            wait_for("a reason", lambda: "Connection refused" in c.clouds["cloud-1"].log())
            self.assertEqual(c.clouds["cloud-1"].stop(), 0)  # though nobody answers
            k.command("up 1")
            c.clouds["cloud-1"].start()
            c.wait_ready()
            wait_equal(c, "cloud-1", lambda: k.rows("weir"), 10 * 20)

    def test_formats_and_compression(self):
        codecs = ["none", "snappy", "zstd"]
        sinks = [{"name": x, "type": "kafka", "topic": x, "compression": x} for x in codecs] + [{"name": "p", "type": "kafka", "topic": "p", "format": "protobuf"}]
        with Mock(1) as k, one_cloud([dict(s, brokers=k.bootstrap[0]) for s in sinks]) as c:
            for s in sinks:
                k.command(f"topic {s['topic']} 1")
            feed(c, 0, 61)
            c.start()
            want = len(closed(c, "cloud-1"))
            wait_for("all is delivered", lambda: all(sink_sum(c, "rows_total", s["name"]) >= 140 for s in sinks))
            for codec in codecs:
                self.check_size(k, codec)
                wait_equal(c, "cloud-1", lambda t=codec: k.rows(t), 7 * 20)
            k.command("consume p 1")
            wait_for("protobuf", lambda: len(k.of("p")) >= 140)
            self.check_protobuf(c, k.of("p"))
            self.assertLessEqual(want, 140)

    def check_size(self, k, topic):
        """Rows are much alike: what was compressed is under half of what they say."""
        before = k.wire_bytes()
        k.command(f"consume {topic} 1")
        wait_for(topic, lambda: len(k.of(topic)) >= 140)
        said, had = sum(len(r.value) for r in k.of(topic)), k.wire_bytes() - before
        if topic == "none":
            self.assertGreater(had, said)
        else:
            self.assertLess(had, said / 2, topic)

    @unittest.skipUnless(shutil.which("protoc"), "protoc is not installed")
    def check_protobuf(self, c, records):
        want = {(r["start"], r["group"]["k"]): r for r in closed(c, "cloud-1")}
        for r in records[-3:]:
            self.assertEqual(r.headers["content-type"], "application/x-protobuf")
            text = subprocess.run(["protoc", f"-I{ROOT}/proto", "--decode=weir.result.Row", "row.proto"], input=r.value, capture_output=True,
                                  check=True, timeout=30).stdout.decode()
            row = want[next(k for k in want if f'value: "{k[1]}"\n' in text and r.headers["weir-id"].startswith(self.id_of(text)) and
                            self.start_of(text) == k[0])]
            for name, value in row["values"].items():
                shown = f'  function: "{name}"\n  value: {value:g}\n'
                self.assertIn(shown, text)
            self.assertIn(f"state: {row['state'].upper()}\nrevision: {row['revision']}\n", text)
            self.assertIn("edges {\n  expected: 1\n", text)

    @staticmethod
    def id_of(text):
        return text.split('\nid: "')[1].split('"')[0]

    @staticmethod
    def start_of(text):
        ns = int(text.split("\nstart_ns: ")[1].split("\n")[0])
        return datetime.datetime.fromtimestamp(ns // 10**9, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

    @unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
    def test_tls_and_password(self):
        with Mock(2) as k, tempfile.TemporaryDirectory() as folder:
            certificates(folder)
            for name, text in (("right", "open sesame\n"), ("wrong", "close sesame\n")):
                with open(f"{folder}/{name}", "w", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
                    f.write(text)
            with Door(k.bootstrap, context_of(folder), {"me": "open sesame"}) as door:
                good = {"type": "kafka", "brokers": door.brokers, "tls": True, "ca_file": f"{folder}/ca.crt", "cert_file": f"{folder}/edge.crt",
                        "key_file": f"{folder}/edge.key", "mechanism": "plain", "user": "me", "password_file": f"{folder}/right", "timeout": "3s"}
                stranger = {key: v for key, v in good.items() if key != "ca_file"}
                elsewhere = {**good, "brokers": [b.replace("127.0.0.1", "localhost") for b in door.brokers]}  # which the certificate does not name
                with one_cloud([{"name": "good", **good}, {"name": "wrong", **good, "password_file": f"{folder}/wrong"}, {"name": "stranger", **stranger},
                                {"name": "elsewhere", **elsewhere}]) as c:
                    feed(c, 0, 61)
                    c.start()
                    k.command("topic weir 4")
                    k.command("consume weir 4")
                    wait_equal(c, "cloud-1", lambda: k.rows("weir"), 7 * 20)
                    self.assertGreater(door.entered, 0)
                    log = c.clouds["cloud-1"].log
                    wait_for("the password is refused", lambda: "sink wrong: cannot deliver" in log() and "wrong user or password" in log())
                    wait_for("the broker is refused", lambda: "sink stranger: cannot deliver" in log() and "certificate" in log())
                    wait_for("the name is refused", lambda: re.search("sink elsewhere: cannot deliver.*certificate", log()))
                    self.assertGreater(door.turned_away, 0)
                    self.assertNotIn("sesame", log())
                    wait_for("one alone delivers", lambda: [sink_sum(c, "up", x["name"]) for x in c.spec["sinks"]] == [1, 0, 0, 0])

    def test_the_page(self):
        if not shutil.which("kcat"):
            self.skipTest("kcat is not installed")
        with Mock(1) as k, docs_example.Example("docs/sinks/kafka.md", ports={"9092": k.bootstrap[0].split(":")[1]}) as e:
            e.run()


if __name__ == "__main__":
    unittest.main()
