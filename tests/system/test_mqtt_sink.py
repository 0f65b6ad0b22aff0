"""The mqtt sink against a real mosquitto: what it publishes equals what queries say, through brokers and leaders that come and go."""

import json
import os
import subprocess
import threading
import unittest

import docs_example
from mqtt_broker import Broker, needs_broker
from test_failover import wait_led
from test_mqtt import certificates, write_secret
from test_sinks import best, closed, cluster, feed, fields, sink_sum, wait_equal
from weirtest import DEADLINE_S, free_port, metric_sum, wait_for


def sink(port, name="m5", version="5", **more):
    return dict({"name": name, "type": "mqtt", "broker": f"mqtt://127.0.0.1:{port}", "version": version, "topic": name + "/{stream}/{group}"}, **more)


class Subscriber:
    """Keeps a session at the broker, so that nothing passes it by; rows: {sink: [row]}, kept: the same of what was retained, by topic."""

    def __init__(self, port, name="subscriber", lasting=True, topics="#"):
        import paho.mqtt.client as mqtt
        self.rows, self.kept, self.problems = {}, {}, []
        self.lock, self.subscribed = threading.Lock(), threading.Event()
        self.client = mqtt.Client(name, clean_session=not lasting)
        self.client.on_message = self._take
        self.client.on_connect = lambda c, *_: c.subscribe(topics, 1)
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self.subscribed.wait(DEADLINE_S)

    def _take(self, client, data, message):
        try:
            row = json.loads(message.payload)
            with self.lock:
                if message.retain:
                    self.kept[message.topic] = row
                else:
                    self.rows.setdefault(message.topic.split("/")[0], []).append(row)
                group = ("/".join(row["group"].values()) or "%") + (f"${row['shard']}" if "shard" in row else "")
                if not message.topic.endswith(f"/{row['stream']}/{group}"):
                    self.problems.append(f"{message.topic} has {row}")
        except Exception as e:  # told by the test
            self.problems.append(repr(e))

    def of(self, name):
        with self.lock:
            return list(self.rows.get(name, []))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.client.disconnect()
        self.client.loop_stop()
        if kind is None:
            assert not self.problems, self.problems[:3]


@needs_broker
class MqttSink(unittest.TestCase):
    def test_broker_and_leader_come_and_go(self):
        with cluster([]) as c, Broker(c.dir) as broker, Subscriber(broker.port) as s:
            names = {"m3": "3.1.1", "m5": "5"}
            c.spec["sinks"] = [sink(broker.port, n, v, retained=True) for n, v in names.items()]
            c.write_config()
            feed(c, 0, 61)
            c.start()
            for n in names:
                wait_equal(c, "cloud-1", lambda n=n: s.of(n), 7 * 20)
            broker.stop()
            feed(c, 61, 60)
            wait_for("a lag", lambda: all(sink_sum(c, "backlog_rows", n) >= 120 and sink_sum(c, "up", n) == 0 for n in names))
            victim = wait_led(c)[0]
            broker.start()
            c.clouds[victim].kill()
            other = next(n for n in c.cloud_names if n != victim)
            feed(c, 121, 30)
            for n in names:
                wait_equal(c, other, lambda n=n: s.of(n), 16 * 20)
            wait_for("no lag", lambda: all(sink_sum(c, "backlog_rows", n, [m for m in c.cloud_names if m != victim]) == 0 for n in names))
            newest = {}
            for r in closed(c, other):
                newest[r["group"]["k"]] = fields(r)  # ordered by start
            with Subscriber(broker.port, "late", lasting=False) as late:
                wait_for("what the broker keeps", lambda: len(late.kept) == 2 * 20)
                for topic, row in late.kept.items():
                    self.assertEqual(fields(row), newest[row["group"]["k"]], topic)

    def test_who_is_not_let_in_and_what_is_refused(self):
        """TLS, password, access lists, limits; and QoS 0 and 2."""
        with cluster([], clouds=1, cluster={"replicas": 1}) as c:
            certificates(c.dir)
            tls, plain, limited = free_port(), free_port(), free_port()
            passwords, lists = os.path.join(c.dir, "passwords"), os.path.join(c.dir, "lists")
            subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "weir", "right"], check=True)
            write_secret(lists, "user weir\ntopic write #\ntopic deny no/#\n")
            write_secret(os.path.join(c.dir, "secret"), "wrong\n")
            lock = f"password_file {passwords}\nacl_file {lists}\nallow_anonymous false\n"
            secure = f"cafile {c.dir}/ca.crt\ncertfile {c.dir}/broker.crt\nkeyfile {c.dir}/broker.key\n{lock}"
            extra = (f"per_listener_settings true\nlistener {tls} 127.0.0.1\n{secure}listener {tls} 127.0.0.2\n{secure}"  # one that its certificate does not name
                     f"listener {limited} 127.0.0.1\n{lock}"
                     f"listener {plain} 127.0.0.1\nallow_anonymous true\n")
            known = {"user": "weir", "password_file": "secret"}
            url = f"mqtts://127.0.0.1:{tls}"
            c.spec["sinks"] = [
                sink(0, "secure", broker=url, tls={"ca_file": "ca.crt"}, **known), sink(0, "foreign", broker=url, tls={"ca_file": "broker.crt"}, **known),
                sink(0, "elsewhere", broker=f"mqtts://127.0.0.2:{tls}", tls={"ca_file": "ca.crt"}, **known),
                sink(limited, "no", **known), sink(plain, "q0", qos=0), sink(plain, "q2", qos=2), sink(plain, "q2old", "3.1.1", qos=2)]
            c.write_config()
            feed(c, 0, 61)
            with Broker(c.dir, extra, plain), Subscriber(plain) as s:
                c.start()
                node, log = ["cloud-1"], c.clouds["cloud-1"].log
                for words in ("sink secure: cannot deliver, which is tried again: refused by the broker", "look at `user`, `password_file`",
                              "sink foreign: cannot deliver, which is tried again: TLS: certificate verify failed",
                              "sink elsewhere: cannot deliver, which is tried again: TLS: host name verification failed"):
                    wait_for(words, lambda w=words: w in log())
                self.assertNotIn("wrong", log())
                write_secret(os.path.join(c.dir, "secret"), "right\n")
                for name in ("secure", "q0", "q2", "q2old"):
                    wait_equal(c, "cloud-1", lambda n=name: s.of(n), 7 * 20)
                wait_for("an access list", lambda: "sink no: cannot deliver, which is tried again: refused by the broker: Not authorized" in log())
                self.assertEqual(s.of("no"), [])
                self.assertEqual(sink_sum(c, "rows_total", "no", node), 0)
                self.assertEqual(metric_sum(c.metrics("cloud-1"), "weir_cloud_sink_mqtt_connections_total", sink="q2"), 1)

    def test_parts_of_what_is_over_max_groups_are_kept_beside_each_other(self):
        with cluster([], clouds=1, cluster={"replicas": 1, "shards": 4}) as c, Broker(c.dir) as broker, Subscriber(broker.port) as s:
            c.spec["streams"][0]["max_groups"] = 4
            c.spec["sinks"] = [sink(broker.port, retained=True)]
            c.write_config()
            feed(c, 0, 61)
            c.start()

            def last_of_each():
                rows = {(r["start"], r["group"]["k"], r.get("shard")): r for r in s.of("m5")}
                newest = max((start for start, *_ in rows), default=None)
                return {(k, shard): r["values"]["count"] for (start, k, shard), r in rows.items() if start == newest and r["state"] == "final"}
            wait_for("the newest window", lambda: sum(last_of_each().values()) == 20 and len(s.of("m5")) > 20)
            wait_for("nothing waits", lambda: sink_sum(c, "backlog_rows", "m5") == 0)
            want = last_of_each()
            self.assertGreater(len([k for k, _ in want if k == "__other__"]), 1)
            with Subscriber(broker.port, "late", lasting=False) as late:
                wait_for("what the broker keeps", lambda: len(late.kept) == len(want))
                have = {(r["group"]["k"], r.get("shard")): r["values"]["count"] for r in late.kept.values()}
                self.assertEqual(have, want)

    def test_what_a_broker_does_not_take(self):
        with cluster([], clouds=1, cluster={"replicas": 1}) as c, \
                Broker(c.dir, "retain_available false\nmax_packet_size 600\n") as broker, Subscriber(broker.port) as s:
            c.spec["sinks"] = [sink(broker.port, "kept", retained=True), sink(broker.port, "small")]
            with open(os.path.join(c.dir, "in.lp"), "a") as f:
                f.write(f"m,k=g{'x' * 300} v=1 1700000000000000000\n")
            c.write_config()
            feed(c, 0, 61)
            c.start()
            wait_for("all that fit", lambda: len(best(s.of("small"))) == 7 * 20)
            wait_for("what does not", lambda: sink_sum(c, "rejected_rows_total", "small") >= 1)
            for words in ("the broker takes no message of that size", "the broker keeps no retained messages"):
                wait_for(words, lambda w=words: w in c.clouds["cloud-1"].log())
            self.assertEqual(s.of("kept"), [])

    def test_page(self):
        with docs_example.Example("docs/sinks/mqtt.md") as e:
            with Broker(e.dir, port=int(e.port["1883"]), config=os.path.join(e.dir, "mosquitto.conf")):
                e.run()


if __name__ == "__main__":
    unittest.main()
