"""/api/v1/watch as a way out: the page's example, and curl and a browser that go on after their node was killed and started again."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import unittest
import urllib.error
import urllib.request

import browser
import docs_example
from test_faults import make_lines, send, stream, tcp_edge
from weirtest import Cluster, wait_for

PAGE = "docs/sinks/watch.md"
needed = unittest.skipUnless(shutil.which("curl"), "curl is not installed")


def key_of(row):
    return row["start"], row["end"], json.dumps(row["group"], sort_keys=True)


class Following:
    """follow.sh of the page, on its own."""

    def __init__(self, folder, url):
        self.rows_file = os.path.join(folder, "rows")
        script = next(text for info, text in docs_example.blocks(PAGE) if info == "file follow.sh")
        with open(os.path.join(folder, "follow.sh"), "w") as f:
            f.write(script)
        self.process = subprocess.Popen(["bash", "follow.sh", url, "rows"], cwd=folder, stdin=subprocess.DEVNULL, start_new_session=True)
        wait_for("a place", lambda: os.path.exists(self.rows_file + ".id") and os.path.getsize(self.rows_file + ".id"))

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL) # with its curl
        self.process.wait()

    def rows(self):
        if not os.path.exists(self.rows_file):
            return []
        with open(self.rows_file) as f:
            return [json.loads(line) for line in f if line.endswith("\n")]

    def gaps(self):
        return os.path.exists(self.rows_file + ".gaps")


def last_of(rows):
    """The row of each window that a receiver keeps."""
    kept = {}
    for row in rows:
        old = kept.get(key_of(row))
        if not old or (row["revision"], row["state"] == "final") >= (old["revision"], old["state"] == "final"):
            kept[key_of(row)] = row
    return kept


@needed
class Page(unittest.TestCase):
    def test_the_page_of_watch(self):
        with docs_example.Example(PAGE) as e:
            try:
                e.run()
            finally:
                with contextlib.suppress(OSError, ValueError), open(os.path.join(e.dir, "follow.pid")) as f:
                    os.kill(int(f.read()), signal.SIGKILL) # its curl ends with the node


@needed
class Restarts(unittest.TestCase):
    def check(self, c, rows):
        """Told of once each, and in the end what a query says."""
        told = [(key_of(r), r["revision"], r["state"]) for r in rows]
        self.assertEqual(len(told), len(set(told)), "a row came twice")
        answer, kept = {key_of(r): r for r in c.query("cloud-1", "s")["rows"]}, last_of(rows)
        for row in [*answer.values(), *kept.values()]: # of the moment in which it was told: an edge that was idle has contributed since
            row["edges"] = row["edges"]["missing"]
        self.assertEqual([(kept.get(k), answer.get(k)) for k in kept.keys() | answer.keys() if kept.get(k) != answer.get(k)], [])

    def has_all(self, rows, readings):
        return sum(r["values"]["count"] for r in last_of(rows).values()) == readings

    def first_id(self, url, last_id=None):
        """(status, the id of the first event)"""
        request = urllib.request.Request(url, headers={"Last-Event-ID": last_id} if last_id else {})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.readline().decode().removeprefix("id: ").strip()
        except urllib.error.HTTPError as e:
            return e.code, json.load(e)["error"]["code"]

    def check_later_version(self, c):
        """A place that speaks of a version is good at a node that was down when that took over, from its first answer on."""
        c.clouds["cloud-3"].kill()
        c.spec["streams"] = [stream(window="20s")]
        c.write_config()
        c.ctl("apply", "--yes", c.config)
        wait_for("the other version", lambda: [s["window"] for s in c.api("cloud-1", "streams")["streams"] if s["phase"] == "current"] == ["20s"])
        place = self.first_id(f"{c.url('cloud-1')}/api/v1/watch?stream=s")
        self.assertEqual(place[0], 200)
        c.clouds["cloud-3"].start()

        def answer():  # but for one that says that it cannot answer yet
            found = self.first_id(f"{c.url('cloud-3')}/api/v1/watch?stream=s", place[1])
            return found[0] != 503 and found
        self.assertEqual(wait_for("an answer", answer), place)
        for bad in ("zz", place[1][:-2], "00" * 30):
            self.assertEqual(self.first_id(f"{c.url('cloud-3')}/api/v1/watch?stream=s", bad), (400, "bad_cursor"), bad)

    def is_final(self, rows, readings):
        return self.has_all(rows, readings) and all(r["state"] == "final" for r in last_of(rows).values())

    def test_curl_and_a_browser_go_on_where_they_were(self):
        lines = make_lines(1500)
        why = browser.missing()
        with Cluster(edges={"edge-1": tcp_edge()}, streams=[stream()], cluster={"shards": 4}, security=False) as c:
            c.start()
            url = f"{c.url('cloud-2')}/api/v1/watch?stream=s"
            f = Following(c.dir, url)
            b = None if why else browser.Browser()
            try:
                if b:
                    b.open(c.url("cloud-2") + "/")
                    b.js("window.rows = []; window.opened = 0; window.resets = 0;"
                         "window.source = new EventSource('/api/v1/watch?stream=s');"
                         "source.onopen = () => { opened++; };"
                         "source.onmessage = (e) => { rows.push(JSON.parse(e.data)); };"
                         "source.addEventListener('reset', () => { resets++; });")
                    b.wait("the browser listens", "return opened === 1;")
                send(c.tcp["edge-1"], lines[:500])
                wait_for("the first rows", lambda: self.has_all(f.rows(), 500))
                c.clouds["cloud-2"].kill()
                send(c.tcp["edge-1"], lines[500:1000])
                c.wait_count("cloud-1", "s", 1000)
                c.clouds["cloud-2"].start()
                c.wait_ready(["cloud-2"])
                send(c.tcp["edge-1"], lines[1000:])
                c.wait_count("cloud-1", "s", 1500, state="final")
                wait_for("all rows", lambda: self.is_final(f.rows(), 1500))
                self.check(c, f.rows())
                self.assertFalse(f.gaps())
                if b:
                    wait_for("all rows in the browser", lambda: self.is_final(b.js("return rows;"), 1500))
                    self.check(c, b.js("return rows;"))
                    self.assertEqual(b.js("return [opened, resets];"), [2, 0])
                self.check_later_version(c)
            finally:
                f.close()
                if b:
                    b.close()
        if why:
            self.skipTest(f"curl went on; no EventSource: {why}")


if __name__ == "__main__":
    unittest.main()
