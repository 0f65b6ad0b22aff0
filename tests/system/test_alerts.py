"""Alerts: what sinks are told of is what a naive reading of the same windows says, each once in the log, whichever leaders die."""

import datetime
import json
import os
import subprocess
import threading
import unittest

import kafka_mock
from mqtt_broker import Broker, needs_broker
from test_failover import wait_equal_digests, wait_led
from test_sinks import Receiver, json_lines, sink_sum
from weirtest import NS, WEIRCTL, ApiError, Cluster, metric_sum, wait_for

T0 = 1_700_000_000 * NS
GROUPS = 8
HOT = {"name": "hot", "when": "max > 50 and count >= 1", "for": "2 windows", "to": ["hook", "lines"], "severity": "page"}


class AlertReceiver(Receiver):
    """Keeps the events of alerts of what it answers with 200, and the rows."""

    def __init__(self):
        self.alerts = []
        super().__init__()

    def take(self, request):
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        if self.status == 200:
            self.rows += body["rows"]
            self.alerts += body.get("alerts", [])
        request.send_response(self.status)
        request.send_header("Content-Length", "2")
        request.end_headers()
        request.wfile.write(b"ok")


def cluster(receiver, alert=HOT, **more):
    edges = {"edge-1": {"sources": [{"type": "file", "path": "in.lp", "follow": True}], "heartbeat": "300ms", "tick": "100ms",
                        "flush": "300ms", "idle_after": "1s"}}
    streams = [{"name": "s", "from": {"measurement": "m", "field": "v"}, "by": ["k"], "window": "10s", "lateness": "0s",
                "compute": ["count", "max"], "alert": alert}]
    c = Cluster(edges=edges, streams=streams, security=False, **more)
    c.spec["sinks"] = [{"name": "hook", "type": "webhook", "url": f"http://127.0.0.1:{receiver.port if receiver else 9}/", "streams": []},
                       {"name": "lines", "type": "file", "path": "alerts-{node}.jsonl", "streams": []}]
    c.write_config()
    return c


def hot(w, k):
    """Whether group k is above 50 in window w; None: it has no data there."""
    x = (w * 7 + k * 13 + (w * w) // 3 + k * k) % 11
    return None if x == 0 else (w // (2 + k % 3)) % 2 == 1 if k < 6 else x > 4


def feed(c, first, count):
    with open(os.path.join(c.dir, "in.lp"), "a") as f:
        for w in range(first, first + count):
            for k in range(GROUPS):
                if hot(w, k) is not None:
                    f.write(f"m,k=g{k} v={60 if hot(w, k) else 40} {T0 + (w * 10 + 1) * NS}\n")
            f.write(f"m,k=clock v=0 {T0 + (w * 10 + 9) * NS}\n")


def time_of(w):
    return datetime.datetime.fromtimestamp(T0 // NS + w * 10, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def naive(windows, length=2):
    """{(state, window start, group): (since, reason)}"""
    out = {}
    for k in range(GROUPS):
        run = 0
        for w in range(windows):
            met = hot(w, k)
            if met:
                run += 1
                since = w if run == 1 else since
                if run == length:
                    out["firing", time_of(w), f"g{k}"] = (time_of(since), None)
                continue
            if run >= length:
                out["resolved", time_of(w), f"g{k}"] = (time_of(since), "no_data" if met is None else "not_met")
            run = 0
    return out


def told(events):
    """The same of what came; whatever comes again must be the same."""
    by_id, out = {}, {}
    for e in events:
        assert e["kind"] == "alert" and by_id.setdefault(e["id"], e) == e, (e, by_id[e["id"]])
    for e in by_id.values():
        key = (e["state"], e["window"]["start"], e["group"]["k"])
        assert key not in out, (key, "has two ids")
        out[key] = (e["since"], e["reason"])
    return out


def wait_told(events_of, windows):
    seen = []

    def equal():
        want, have = naive(windows), told(events_of())
        seen[:] = [sorted(set(want.items()) ^ set(have.items()))[:4], len(want), len(have)]
        return want == have
    try:
        wait_for(f"alerts of {windows} windows", equal)
    except AssertionError as e:
        raise AssertionError(f"{e}; differ: {seen}") from None


def committed(c, node):
    """The events that the log has led to, of all shards, as a stopped node's state has them."""
    path = os.path.join(c.dir, "run", node, "state")
    out = subprocess.run([WEIRCTL, "store", "dump", path], capture_output=True, text=True, check=True).stdout
    return [r for r in map(json.loads, out.splitlines()) if r.get("what") == "alert_event"]


class Alerts(unittest.TestCase):
    def test_through_kills_of_leaders(self):
        """Windows close in every moment of a leader's life: none fires twice, none is left out."""
        r = AlertReceiver()
        with cluster(r) as c:
            feed(c, 0, 13)
            c.start()
            windows = 13  # the last one closes when the edge is idle
            wait_told(lambda: r.alerts, windows)
            for moment in range(3):
                victim = wait_led(c)[moment]
                feed(c, windows, 6)
                if moment:  # 0: killed at once; later: ever further into what follows
                    wait_for("the first of it", lambda: len(told(r.alerts)) > len(naive(windows)) + moment - 1)
                c.clouds[victim].kill()
                windows += 6
                wait_told(lambda: r.alerts, windows)
                c.clouds[victim].start()
                c.wait_ready()
            wait_told(lambda: json_lines(c, "alerts-*.jsonl"), windows)
            wait_equal_digests(c)
            answers = [c.api(n, "alerts")["alerts"] for n in c.cloud_names]
            self.assertTrue(answers[0] and answers[0] == answers[1] == answers[2])
            self.assertEqual(r.rows, [])  # `streams: []`
            c.stop()
            events = committed(c, "cloud-1")
            keys = {("firing" if e["firing"] else "resolved", e["window"], json.dumps(e["group"])) for e in events}
            self.assertEqual(len(keys), len(events))
            self.assertEqual(len(events), len(naive(windows)))
        r.stop()

    def test_what_is_there_is_told_changed_and_removed(self):
        r = AlertReceiver()
        with cluster(r, clouds=1, cluster={"replicas": 1, "shards": 2}) as c:
            last = next(w for w in range(9, 50) if {(hot(w - 1, k) is True, hot(w, k)) for k in range(GROUPS)} >= {(True, True), (False, True)})
            feed(c, 0, last + 1)
            c.start()
            wait_told(lambda: r.alerts, last + 1)
            fires = [k for k in range(GROUPS) if hot(last - 1, k) and hot(last, k)]
            waits = [k for k in range(GROUPS) if hot(last, k) and not hot(last - 1, k)]
            want = {**{f"g{k}": "firing" for k in fires}, **{f"g{k}": "pending" for k in waits}}
            wait_for("what is there", lambda: {a["group"]["k"]: a["state"] for a in c.api("cloud-1", "alerts")["alerts"]} == want)
            answer = c.api("cloud-1", "alerts")
            self.assertIsNone(answer["next"])
            have = {a["group"]["k"]: a for a in answer["alerts"]}
            one = have[f"g{fires[0]}"]
            self.assertEqual((one["name"], one["stream"], one["when"], one["for"], one["severity"], one["summary"], one["values"]),
                             ("hot", "s", HOT["when"], 2, "page", None, {"max": 60, "count": 1}))
            paged, cursor = [], {}
            while cursor is not None:
                piece = c.api("cloud-1", "alerts", limit=1, **cursor)
                paged += piece["alerts"]
                self.assertLessEqual(len(piece["alerts"]), 1)
                cursor = {"cursor": piece["next"]} if piece["next"] else None
            self.assertEqual(paged, answer["alerts"])
            self.assertEqual(len(c.api("cloud-1", "alerts", state="pending", stream="s")["alerts"]), len(waits))
            for wrong in ({"state": "x"}, {"limit": 0}, {"cursor": "9.0"}, {"stream": "x"}, {"x": 1}):
                with self.assertRaises(ApiError):
                    c.api("cloud-1", "alerts", **wrong)
            wait_for("metrics", lambda: metric_sum(c.metrics("cloud-1"), "weir_cloud_alerts", state="firing") == len(fires) and
                     metric_sum(c.metrics("cloud-1"), "weir_cloud_alerts", state="pending") == len(waits))
            c.clouds["cloud-1"].kill()
            c.clouds["cloud-1"].start()
            c.wait_ready()
            self.assertEqual(c.api("cloud-1", "alerts"), answer)
            c.spec["streams"][0]["alert"] = dict(HOT, name="hotter", when="max > 1000")
            c.write_config()
            c.ctl("apply", "--yes", c.config)

            def removed():
                return {e["group"]["k"] for e in r.alerts if (e["alert"], e["state"], e["reason"]) == ("hot", "resolved", "removed")}
            wait_for("what fires is resolved", lambda: removed() == {f"g{k}" for k in fires})
            told(r.alerts)
            wait_for("nothing is pending either", lambda: c.api("cloud-1", "alerts")["alerts"] == [])  # in another shard
        r.stop()

    def test_a_receiver_that_is_away(self):
        """It gets all of it when it is back; the file beside it is not held up."""
        r = AlertReceiver()
        with cluster(r, clouds=1, cluster={"replicas": 1, "shards": 2}) as c:
            r.status = 503
            feed(c, 0, 13)
            c.start()
            wait_told(lambda: json_lines(c, "alerts-*.jsonl"), 13)
            self.assertEqual(r.alerts, [])
            wait_for("they wait", lambda: sink_sum(c, "backlog_alerts", "hook") == len(naive(13)) and sink_sum(c, "lag_seconds", "hook") > 0)
            wait_for("none of the other", lambda: sink_sum(c, "backlog_alerts", "lines") == 0)  # it is measured now and then
            r.stop()
            c.clouds["cloud-1"].kill()
            c.clouds["cloud-1"].start()
            r.status = 200
            r.start()
            wait_told(lambda: r.alerts, 13)
            wait_for("none waits", lambda: sink_sum(c, "backlog_alerts", "hook") == 0 and sink_sum(c, "lag_seconds", "hook") == 0)
        r.stop()

    @needs_broker
    def test_a_broker_is_told(self):
        """On a topic of the alert and its group; what the broker keeps is the alert's state."""
        r = AlertReceiver()
        with cluster(r, dict(HOT, to=["pub", "lines"]), clouds=1, cluster={"replicas": 1, "shards": 2}) as c, Broker(c.dir) as broker:
            import paho.mqtt.client as mqtt
            events, kept, problems, subscribed = [], {}, [], threading.Event()

            def take(client, data, message):
                e = json.loads(message.payload)
                if message.topic != f"weir-alerts/hot/{e['group']['k']}":
                    problems.append(message.topic)
                if message.retain:
                    kept[e["group"]["k"]] = e["state"]
                else:
                    events.append(e)

            def subscribe(name, lasting):
                client = mqtt.Client(name, clean_session=not lasting)
                client.reconnect_delay_set(1, 1)
                client.on_message = take
                client.on_connect = lambda connected, *_: connected.subscribe("#", 1)
                client.on_subscribe = lambda *_: subscribed.set()
                client.connect("127.0.0.1", broker.port)
                client.loop_start()
                return client
            first = subscribe("first", True)
            c.spec["sinks"][0] = {"name": "pub", "type": "mqtt", "broker": f"mqtt://127.0.0.1:{broker.port}", "retained": True, "streams": []}
            c.write_config()
            wait_for("a subscriber", subscribed.is_set)
            feed(c, 0, 8)
            c.start()
            wait_told(lambda: list(events), 8)
            broker.stop()
            feed(c, 8, 5)
            wait_told(lambda: json_lines(c, "alerts-*.jsonl"), 13)
            broker.start()
            wait_told(lambda: list(events), 13)
            late = subscribe("late", False)
            last = {}
            for state, window, group in sorted(naive(13), key=lambda key: key[1]):
                last[group] = state
            wait_for("what is kept", lambda: kept == last)
            for client in (first, late):
                client.disconnect()
                client.loop_stop()
            self.assertEqual(problems, [])
        r.stop()

    @kafka_mock.needed
    def test_kafka_is_told(self):
        """In a topic of its own, as JSON whatever rows are; what comes again after a kill is the same."""
        r = AlertReceiver()
        with cluster(r, dict(HOT, to=["k", "lines"]), clouds=1, cluster={"replicas": 1, "shards": 2}) as c, kafka_mock.Mock() as k:
            k.command("topic alerts.hot 3")
            k.command("consume alerts.hot 3")
            c.spec["sinks"][0] = {"name": "k", "type": "kafka", "brokers": k.bootstrap, "streams": [], "format": "protobuf", "alerts_topic": "alerts.{alert}"}
            c.write_config()
            feed(c, 0, 8)
            c.start()
            wait_told(lambda: k.rows("alerts.hot"), 8)
            c.clouds["cloud-1"].kill()
            feed(c, 8, 5)
            c.clouds["cloud-1"].start()
            wait_told(lambda: k.rows("alerts.hot"), 13)
            self.assertEqual(metric_sum(c.metrics("cloud-1"), "weir_cloud_sink_rows_total", sink="k"), 0)
            self.assertEqual(len({(record.key, record.partition) for record in k.of("alerts.hot")}), len({record.key for record in k.of("alerts.hot")}))
            for record in k.of("alerts.hot"):
                e = json.loads(record.value)
                self.assertEqual(json.loads(record.key), {"alert": "hot", "stream": "s", "group": e["group"]})
                self.assertEqual(record.headers, {"weir-id": e["id"], "weir-state": e["state"], "weir-kind": "alert", "content-type": "application/json"})
        r.stop()


if __name__ == "__main__":
    unittest.main()
