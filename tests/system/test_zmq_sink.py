"""The zmq sink: what subscribers get (python3-zmq) equals what queries say, through kills of nodes; and who may subscribe."""

import contextlib
import json
import os
import threading
import unittest

import docs_example
import test_alerts
from test_failover import wait_led
from test_sinks import best, cluster, feed, fields, sink_sum, wait_equal
from weirtest import awake, free_port, wait_for

try:
    import zmq
except ImportError:
    zmq = None


def needs_zmq(test):
    return unittest.skipIf(zmq is None, "not installed: python3-zmq")(test)


class Subscriber:
    """Reads on a thread of its own; checks that of each (node, run, stream or alert) no number is left out where all is subscribed."""

    def __init__(self, ports, topic="", keys=None):
        """ports: of nodes, or {port: that node's public key} with keys: (public, secret)."""
        self.rows, self.last, self.problems, self.runs = [], {}, [], set()
        self.context, self.whole = zmq.Context(), topic == ""
        self.socket = self.context.socket(zmq.SUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt_string(zmq.SUBSCRIBE, topic)
        if keys:
            self.socket.curve_publickey, self.socket.curve_secretkey = keys
        for port in ports:
            if keys:
                self.socket.curve_serverkey = ports[port]
            self.socket.connect(f"tcp://127.0.0.1:{port}")
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.closing.is_set():
            if self.socket.poll(50):
                try:
                    self._take(*self.socket.recv_multipart())
                except Exception as e:  # told by the test
                    self.problems.append(repr(e))

    def _take(self, topic, head, body):
        head, row = json.loads(head), json.loads(body)
        name = "alert " + row["alert"] if row.get("kind") == "alert" else row["stream"]
        group = "".join("/" + v for v in row["group"].values()) + (f"${row['shard']}" if "shard" in row else "")
        if topic.decode() != f"{name}{group}/":
            self.problems.append(f"{topic} has {row}")
        key = (head["node"], head["run"], name)
        if self.whole and head["seq"] != self.last.get(key, 0) + 1 and awake().still_at is None:
            self.problems.append(f"{head} after {self.last.get(key)}")
        self.last[key] = head["seq"]
        self.runs.add(key[:2])
        self.rows.append(row)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.closing.set()
        self.thread.join()
        self.socket.close()
        self.context.term()
        if kind is None:
            assert not self.problems, self.problems[:3]


@contextlib.contextmanager
def connected(test):
    """What is waited for reaches whoever is connected. A machine that stands still ends connections, and what is told until they are there
    again is missed."""
    try:
        yield
    except AssertionError as e:
        if awake().still_at is None:
            raise
        test.skipTest(f"the machine stood still: {e}")


def sink(names, **more):
    return dict({"name": "z", "type": "zmq", "ports": {n: free_port() for n in names}}, **more)


@needs_zmq
class ZmqSink(unittest.TestCase):
    def test_a_subscriber_through_kills_of_nodes(self):
        """Nothing is missed while it is connected, and a node that comes back finds it again."""
        with cluster([]) as c:
            conf = sink(c.cloud_names)
            c.spec["sinks"] = [conf]
            c.write_config()
            ports = list(conf["ports"].values())
            with Subscriber(ports) as every, Subscriber(ports, "s/g1/") as one:
                c.start()
                wait_for("subscriptions", lambda: sink_sum(c, "zmq_subscribers", "z") == 6)
                feed(c, 0, 61)
                with connected(self):
                    wait_equal(c, "cloud-1", lambda: every.rows, 7 * 20)
                victim = wait_led(c)[0]
                other = next(n for n in c.cloud_names if n != victim)
                c.clouds[victim].kill()
                feed(c, 61, 60)
                with connected(self):
                    wait_equal(c, other, lambda: every.rows, 13 * 20)
                c.clouds[victim].start()
                c.wait_ready()
                wait_for("subscriptions", lambda: sink_sum(c, "zmq_subscribers", "z") == 6)
                feed(c, 121, 30)
                with connected(self):
                    wait_equal(c, victim, lambda: every.rows, 16 * 20)
                with connected(self):
                    wait_for("its group's at the other one", lambda: len(best(one.rows)) == 16)
                self.assertEqual({r["group"]["k"] for r in one.rows}, {"g1"})
                self.assertEqual(sink_sum(c, "zmq_left_behind_total", "z"), 0)

                # A subscriber that went and comes back has what is told from then on: three windows, and the revised one before them.
                with Subscriber(ports, "s/") as again:
                    wait_for("subscriptions", lambda: sink_sum(c, "zmq_subscribers", "z") == 9)
                    feed(c, 151, 30)
                    with connected(self):
                        wait_equal(c, victim, lambda: every.rows, 19 * 20)
                    newest = sorted({r["start"] for r in every.rows})[-4:]

                    def last_words(s):
                        return {key: fields(r) for key, r in best(s.rows).items() if key[0] in newest}
                    with connected(self):
                        wait_for("the same from then on", lambda: len(last_words(every)) == 80 and last_words(again) == last_words(every))

    def test_parts_of_what_is_over_max_groups_are_told_apart(self):
        with cluster([], clouds=1, cluster={"replicas": 1, "shards": 4}) as c:
            c.spec["streams"][0]["max_groups"] = 4
            conf = sink(c.cloud_names)
            c.spec["sinks"] = [conf]
            c.write_config()
            with Subscriber(conf["ports"].values()) as s:
                c.start()
                wait_for("a subscription", lambda: sink_sum(c, "zmq_subscribers", "z") == 1)
                feed(c, 0, 61)

                def parts():
                    return {(r["group"]["k"], r.get("shard")): r["values"]["count"] for r in s.rows if r["start"].endswith(":13:20Z")}
                with connected(self):
                    wait_for("all of the first window", lambda: sum(parts().values()) == 10 * 20)
                self.assertGreater(len([k for k, _ in parts() if k == "__other__"]), 1)

    def test_who_may_subscribe(self):
        with cluster([], security=True, clouds=1, cluster={"replicas": 1}) as c:
            folder = os.path.join(c.dir, "subscribers")
            os.mkdir(folder)
            conf = sink(c.cloud_names, subscribers="subscribers")
            c.spec["sinks"] = [conf]
            c.write_config()
            pairs = {n: zmq.curve_keypair() for n in ("ann", "bob")}
            for name in pairs:
                with open(os.path.join(folder, name + ".pub"), "wb") as f:
                    f.write(pairs[name][0] + b"\n")
            c.start()
            port = conf["ports"]["cloud-1"]

            def key(name):
                with open(os.path.join(c.keys, name)) as f:
                    return [line for line in f.read().splitlines() if line and line[0] != "#"][0].encode()
            server, edge = key("cloud-1.pub"), (key("edge-1.pub"), key("edge-1.key"))
            node = ["cloud-1"]

            def subscriber(keys):
                return Subscriber({port: server}, keys=keys)
            with subscriber(pairs["ann"]) as ann, subscriber(pairs["bob"]) as bob, subscriber(edge) as stranger, \
                    subscriber(zmq.curve_keypair()) as nobody, Subscriber([port]) as plain:
                wait_for("who may", lambda: sink_sum(c, "zmq_refused_total", "z", node) >= 3)
                wait_for("who may not", lambda: sink_sum(c, "zmq_subscribers", "z", node) == 2)
                feed(c, 0, 61)
                for s in (ann, bob):
                    with connected(self):
                        wait_equal(c, "cloud-1", lambda s=s: s.rows, 7 * 20)
                os.remove(os.path.join(folder, "bob.pub"))
                wait_for("bob to be cut off", lambda: sink_sum(c, "zmq_subscribers", "z", node) == 1)
                before = len(bob.rows)
                feed(c, 61, 60)
                with connected(self):
                    wait_equal(c, "cloud-1", lambda: ann.rows, 13 * 20)
                self.assertEqual(len(bob.rows), before)
                self.assertEqual(len(ann.runs), 1)
                for s in (stranger, nobody, plain):
                    self.assertEqual(s.rows, [])

    def test_alerts(self):
        """Beside rows, by topics and numbers of their own; and without rows."""
        with test_alerts.cluster(None, clouds=1, cluster={"replicas": 1, "shards": 2}) as c:
            z, alone = sink(c.cloud_names), sink(c.cloud_names, name="alone", streams=[])
            c.spec["sinks"] = [z, alone]
            c.spec["streams"][0]["alert"] = dict(test_alerts.HOT, to=["z", "alone"])
            c.write_config()
            port, node = z["ports"]["cloud-1"], ["cloud-1"]
            with Subscriber([port]) as every, Subscriber([port], "alert hot/g1/") as one, Subscriber(alone["ports"].values()) as other:
                def ready():
                    return sink_sum(c, "zmq_subscribers", "z", node) == 2 and sink_sum(c, "zmq_subscribers", "alone", node) == 1

                def feed_told(first, count):
                    wait_for("subscriptions", ready)
                    test_alerts.feed(c, first, count)
                    for s in (every, other):
                        with connected(self):
                            test_alerts.wait_told(lambda s=s: [r for r in list(s.rows) if r.get("kind")], first + count)
                c.start()
                feed_told(0, 8)
                c.clouds["cloud-1"].kill()
                c.clouds["cloud-1"].start()
                feed_told(8, 5)
                wait_for("rows, too", lambda: {r.get("kind") for r in list(every.rows)} == {"alert", None})
                self.assertEqual({r.get("kind") for r in other.rows}, {"alert"})
                with connected(self):
                    test_alerts.wait_told(lambda: [r for r in list(every.rows) if r.get("kind") and r["group"]["k"] != "g1"] + list(one.rows), 8 + 5)
                self.assertEqual({(r["kind"], r["group"]["k"]) for r in one.rows}, {("alert", "g1")})

    def test_page(self):
        with docs_example.Example("docs/sinks/zmq.md") as e:
            try:
                e.run()
            finally:
                e.command("kill -9 $(cat subscriber.pid)")


if __name__ == "__main__":
    unittest.main()
