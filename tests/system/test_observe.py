"""deploy/observe/ and docs/monitoring.md: rules and dashboard parse, speak of metrics that are there, and say what is so of a real cluster."""
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

import docs_example
import weirtest
from prometheus import TOOL, Prometheus, needed
from weirtest import Cluster, free_port, wait_for

OBSERVE = os.path.join(weirtest.ROOT, "deploy", "observe")
RULES = os.path.join(OBSERVE, "rules.yaml")
NAME = re.compile(r"\b(?:weir|process|up)(?:_[a-z0-9_]+)?\b(?!:)")
OF_THE_MACHINE = ("WeirDiskFills", "WeirCommitSlow")  # which few seconds say nothing of
ALWAYS_THERE = {"Clouds that answer", "Groups without a majority", "Edges that are heard", "Still in spools", "Readings accepted", "Spool, of its limit",
                "Edges by state, as the clouds see them", "Bytes not acknowledged yet", "Groups led", "Followers' lag, entries", "A commit takes (p99)",
                "Sinks are behind", "HTTP answers", "Connections", "Disk in use", "Disk free", "Memory", "Processor", "Up since",
                "Files open, of those that may be", "Certificates end in", "Versions"}
GRAFANA = {"$__rate_interval": "5m", "$result": "weir:temperature:mean"}


def promtool(*args):
    r = subprocess.run([TOOL, *args], capture_output=True, text=True, cwd=OBSERVE)
    assert r.returncode == 0, r.stdout + r.stderr
    return r.stdout


def rules():
    """[{alert, expr, labels, annotations}], as Prometheus' own YAML is read by whoever has no library for it: by our own layout."""
    out = []
    with open(RULES) as f:
        for text in f.read().split("      - alert: ")[1:]:
            block = re.search(r"^ +expr: \|\n((?: {10}.*\n)+)", text, re.M)
            expr = block.group(1) if block else re.search(r"^ +expr: (.*)$", text, re.M).group(1).strip("'")
            out.append({"alert": text.split("\n", 1)[0], "expr": expr, "severity": re.search(r"severity: (\w+)", text).group(1),
                        "summary": re.search(r'summary: "(.*)"$', text, re.M).group(1),
                        "description": re.search(r'description: "(.*)"$', text, re.M).group(1),
                        "runbook": re.search(r"runbook: (\S+)$", text, re.M).group(1)})
    return out


def anchors(page):
    """Of a page's headings, as they are linked to."""
    with open(os.path.join(weirtest.ROOT, page), encoding="utf-8") as f:
        return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", f.read(), re.M)}


def dashboard():
    with open(os.path.join(OBSERVE, "grafana.json")) as f:
        return json.load(f)


def expressions(board):
    """(where, expression) of all panels and annotations; of variables what they take values of."""
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def plain(expression):
    """What Grafana would ask, with `All` chosen."""
    for name, value in GRAFANA.items():
        expression = expression.replace(name, value)
    return re.sub(r"\$\w+", ".*", expression)


def names(expression):
    """Metrics of an expression: no labels, no texts."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}', "", re.sub(r"\b(?:by|on|without|ignoring)\s*\([^)]*\)", "", expression))
    return {re.sub(r"_(?:bucket|sum|count)$", "", n) if n.endswith(("_seconds_bucket", "_seconds_sum", "_seconds_count")) else n for n in NAME.findall(bare)}


@needed
class Files(unittest.TestCase):
    def test_rules(self):
        self.assertIn(f"{len(rules())} rules found", promtool("check", "rules", "rules.yaml"))
        promtool("test", "rules", "rules.test.yaml")

    def test_each_rule_has_what_a_person_needs(self):
        with open(os.path.join(OBSERVE, "rules.test.yaml")) as f:
            cases = f.read().split("  - name: ")[1:]
        for rule in rules():
            mine = [c for c in cases if c.startswith(rule["alert"] + "\n")]
            self.assertTrue(any("exp_samples: []" in c for c in mine), rule["alert"])
            firing = [line for c in mine for line in c.splitlines() if "labels: 'ALERTS" in line]
            self.assertTrue(firing, rule["alert"])
            self.assertIn(rule["severity"], ("critical", "warning", "info"))
            for label in re.findall(r"\$labels\.(\w+)", rule["summary"] + rule["description"]):
                for line in firing:
                    self.assertRegex(line, rf'\b{label}="', rule["alert"])
            page, anchor = rule["runbook"].split("#")
            self.assertEqual(anchor, "alert-" + rule["alert"].lower())
            self.assertIn(anchor, anchors(page), rule["alert"])

    def test_dashboard(self):
        board = dashboard()
        self.assertEqual(len({p["id"] for p in board["panels"]}), len(board["panels"]))
        taken = set()
        for panel in board["panels"]:
            g = panel["gridPos"]
            self.assertLessEqual(g["x"] + g["w"], 24, panel["title"])
            cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
            self.assertFalse(taken & cells, panel["title"])
            taken |= cells
            if panel["type"] != "row":
                self.assertEqual(panel["datasource"]["uid"], "${DS_PROMETHEUS}", panel["title"])
        with tempfile.TemporaryDirectory(prefix="weir-test-") as folder:
            path = os.path.join(folder, "expressions.yaml")
            with open(path, "w") as f:
                json.dump({"groups": [{"name": "g", "rules": [{"record": f"r{i}", "expr": plain(e)}
                                                              for i, (_, e) in enumerate(expressions(board))]}]}, f)
            promtool("check", "rules", path)

    def test_metrics_that_are_spoken_of_are_there(self):
        """Of daemons with a source and a sink of each kind that has metrics of its own; whether they can work does not matter here."""
        sources = [{"type": "tcp"}, {"type": "udp", "listen": f"127.0.0.1:{free_port()}"},
                   {"type": "mqtt", "broker": f"mqtt://127.0.0.1:{free_port()}", "topics": [{"filter": "x", "format": "number"}]},
                   {"type": "prometheus", "url": f"http://127.0.0.1:{free_port()}/metrics"},
                   {"type": "exec", "command": ["/bin/true"], "every": "1h"}, {"type": "file", "path": "in.lp"}]
        streams = [{"name": "s", "from": {"measurement": "m", "field": "v"}, "window": "1m", "alert": {"when": "count > 0"}}]
        asked = {}
        for rule in rules():
            asked.update({n: rule["alert"] for n in names(rule["expr"])})
        board = dashboard()
        for where, expression in expressions(board):
            if "$result" not in expression:
                asked.update({n: where for n in names(expression)})
        for v in board["templating"]["list"]:
            asked.update({n: v["name"] for n in re.findall(r"label_values\((\w+),", v["query"] if isinstance(v["query"], str) else v["query"]["query"])})
        for of_prometheus in ("up",):
            asked.pop(of_prometheus)
        self.assertGreater(len(asked), 80)
        with Cluster(1, {"edge-1": {"sources": sources}}, streams, cluster={"shards": 2}, security=True) as c:
            c.spec["sinks"] = [{"name": "out", "type": "file", "path": "out.jsonl"}]
            c.write_config()
            c.start()

            def missing():
                there = set(re.findall(r"^# TYPE (\S+) ", c.get("cloud-1", "/metrics") + c.get("edge-1", "/metrics"), re.M))
                return {n: where for n, where in asked.items() if n not in there}
            try:
                wait_for("all of them", lambda: not missing())  # alerts have none before they were looked at once
            except AssertionError:
                self.assertEqual(missing(), {})


def without_waiting():
    """The rules, each firing as soon as what it looks for is so."""
    with open(RULES) as f:
        parts = f.read().split("      - alert: ")
    return "      - alert: ".join(p if p.startswith(OF_THE_MACHINE) else re.sub(r"^ +for: .*\n", "", p, flags=re.M) for p in parts)


def firing(prometheus):
    data, _ = prometheus.api("alerts")
    return {(a["labels"]["alertname"], a["labels"].get("instance", "")): a for a in data["alerts"] if a["state"] == "firing"}


class Fleet(unittest.TestCase):
    def test_edges_that_nobody_else_reaches(self):
        """The clouds say which edge is away, one of them at a time, and no longer once it is back."""
        edges = {name: {"sources": [{"type": "tcp"}], "idle_after": "1s"} for name in ("edge-1", "edge-2")}
        with Cluster(3, edges, [{"name": "s", "from": {"measurement": "m", "field": "v"}, "window": "1m"}],
                     cluster={"shards": 2, "partitioned_after": "2s"}) as c:
            c.start()

            def seen(state):
                all_of = [c.metrics(name) for name in c.cloud_names]
                ails = [dict(ls) for m in all_of for n, ls in m if n == "weir_cloud_edge_ailing"]
                return ails, sum(weirtest.metric_sum(m, "weir_cloud_edges") for m in all_of), sum(
                    weirtest.metric_sum(m, "weir_cloud_edges", state=state) for m in all_of)
            wait_for("both edges", lambda: seen("partitioned") == ([], 2, 0))
            c.edges["edge-2"].kill()
            wait_for("the one that is away", lambda: seen("partitioned") == ([{"edge": "edge-2", "what": "partitioned"}], 2, 1))
            c.edges["edge-2"].start()
            wait_for("both edges again", lambda: seen("partitioned") == ([], 2, 0))
            c.ctl("edge", "revoke", "edge-1")
            wait_for("the one that is shut out", lambda: seen("revoked") == ([], 2, 1))


@needed
class Watched(unittest.TestCase):
    def test_page(self):
        """The page's Prometheus, with its intervals shortened: of a cluster that is well nothing fires, not even where no rule waits;
        of one that lost a node, and then its majority, what is so, until it is over."""
        with docs_example.Example("docs/monitoring.md", environment={"WEIR_TOKEN_FILE": "prometheus.token"}) as e:
            e.start()
            config = os.path.join(e.dir, "prometheus.yml")
            with open(config) as f:
                text = f.read().replace("15s", "1s")
            with open(config, "w") as f:
                f.write(text)
            impatient = without_waiting()
            with open(os.path.join(e.dir, "rules.yaml"), "w") as f:
                f.write(impatient)
            for name in ("rules.yaml", "prometheus.token"):
                os.makedirs(os.path.join(e.dir, "prometheus"), exist_ok=True)
                shutil.copy(os.path.join(e.dir, name), os.path.join(e.dir, "prometheus", name))
            os.symlink(os.path.join(e.dir, "keys"), os.path.join(e.dir, "prometheus", "keys"))
            with Prometheus(e.dir, text, lookback="5m", port=int(e.port["9090"])) as p:
                e.run_blocks()
                self.evaluated(p, 3)
                self.asked(p)
                wait_for("nothing to fire", lambda: not firing(p))  # what waits for no time may fire for a moment
                self.fault(e, p)

    def asked(self, p):
        """All that the dashboard asks is answered, and what a cluster always has is there, once all was scraped twice."""
        def empty():
            found = set()
            for where, expression in expressions(dashboard()):
                data, warnings = p.api("query", query=plain(expression))
                self.assertEqual(warnings, [], where)
                if not data["result"]:
                    found.add(where)
            return found & ALWAYS_THERE
        try:
            wait_for("what is always there", lambda: not empty())
        except AssertionError:
            self.assertEqual(empty(), set())

    def evaluated(self, p, times):
        """Waits until each group of rules was evaluated so often from now on, with what was scraped meanwhile."""
        def last():
            data, _ = p.api("rules")
            for g in data["groups"]:
                for r in g["rules"]:
                    self.assertEqual((r["health"], r.get("lastError", "")), (r["health"] if r["health"] == "unknown" else "ok", ""))
            return [g["lastEvaluation"] for g in data["groups"]]
        for _ in range(times):
            before = last()
            wait_for("an evaluation", lambda b=before: all(x != y for x, y in zip(last(), b)))

    def fault(self, e, p):
        processes = dict(e.daemons)
        self.kill(processes["cloud-3"])
        gone = "127.0.0.1:" + e.port["8103"]
        wait_for("the rule of a node that is away", lambda: ("WeirCloudDown", gone) in firing(p))
        self.kill(processes["cloud-2"])
        alert = wait_for("the rule of a shard without a majority", lambda: firing(p).get(("WeirShardDown", "")))
        self.assertEqual(alert["labels"]["severity"], "critical")
        self.assertRegex(alert["annotations"]["summary"], r"^group \d+ has no majority$")
        for name in ("cloud-2", "cloud-3"):
            e.start_daemon(weirtest.CLOUDD, name)
        wait_for("all to be well again", lambda: not any(n in ("WeirCloudDown", "WeirShardDown", "WeirReplicaCutOff") for n, _ in firing(p)))

    def kill(self, process):
        process.send_signal(signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    unittest.main()
