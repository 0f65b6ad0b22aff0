"""The dashboard, in a real browser, against a real cluster: what it shows is what the API says, also of what is hostile, far away or
gone. Without Chromium and its driver these are skipped."""

import http.client
import json
import os
import re
import shlex
import socket
import subprocess
import time
import unittest
import urllib.parse

import browser
from test_sinks import Receiver, hook
from weirtest import WEIRCTL, ApiError, Cluster, http_get, wait_for

T0 = 1_700_000_000 // 60 * 60  # where the readings of the past begin, s
HOSTILE = ["<script>window.broken = 1</script>", "<img src=x onerror=window.broken=1>", "a\"b'c&amp;d", "\u202eturned", "{{7*7}}", "plain"]
PHONE = (360, 740)

SPREAD = {"name": "spread", "from": {"measurement": "m", "field": "v"}, "by": ["k"], "window": "10s", "lateness": "1s",
          "compute": ["count", "mean", "min", "max", "p50", "p99"]}
WORDS = {"name": "words", "from": {"measurement": "h", "field": "v"}, "by": ["word"], "window": "10s", "lateness": "1s", "compute": ["count", "sum"]}
WIDE = {"name": "wide", "from": {"measurement": "w", "field": "v"}, "by": ["host", "unit"], "window": "10s", "lateness": "1s",
        "compute": ["count", "max"]}


# Whether some of the drawing has the ground of what is not final.
TINTED = """return [...document.querySelectorAll("#chart canvas")].some((c) => {
    const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
    for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 8 && d[i + 3] < 40 && d[i] > d[i + 2] + 80) return true;
    return false; })"""


# Whether some of the drawing has just this colour.
DRAWN_IN = """const rgb = arguments; return [...document.querySelectorAll("#chart canvas")].filter((c) => c.width > 0).some((c) => {
    const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
    for (let i = 0; i < d.length; i += 4) if (d[i + 3] === 255 && d[i] === rgb[0] && d[i + 1] === rgb[1] && d[i + 2] === rgb[2]) return true;
    return false; })"""


def escaped(tag):
    return re.sub(r"([,= ])", r"\\\1", tag)


def past_lines():
    """A minute of each stream, and one reading after it that closes the windows before."""
    out = []
    for i in range(120):
        for k in "ab":
            out.append(f"m,k={k} v={i % 50 + (k == 'b') * 100} {(T0 * 1000 + i * 500) * 1_000_000}")
    for i, word in enumerate(HOSTILE):
        out.append(f"h,word={escaped(word)} v={i} {T0 * 1_000_000_000}")
    for i in range(3000):
        out.append(f"w,host=host-{i // 10:03d},unit=u{i % 10} v={i} {T0 * 1_000_000_000}")
    return out


def send(cluster, lines):
    with socket.create_connection(("127.0.0.1", cluster.tcp["edge-1"])) as s:
        s.sendall(("\n".join(lines) + "\n").encode())


def make_cluster(streams=(SPREAD, WORDS, WIDE), **more):
    edges = {"edge-1": {"sources": [{"type": "tcp"}], "idle_after": "1s", "flush": "1s", "heartbeat": "200ms"},
             "edge-2": {"sources": [{"type": "tcp"}], "idle_after": "1s", "heartbeat": "200ms"}}
    return Cluster(edges=edges, streams=list(streams), **more)


def table(b, selector):
    """[{column: text}]"""
    names, rows = b.js("""const texts = (list) => [...list].map((e) => e.innerText.trim()), t = document.querySelector(arguments[0]);
        return [texts(t.querySelectorAll("thead th")), [...t.querySelectorAll("tbody tr")].map((tr) => texts(tr.children))];""", selector)
    return [dict(zip(names, row)) for row in rows]


class WithBrowser(unittest.TestCase):
    def setUp(self):
        why = browser.missing()
        if why:
            self.skipTest(why)

    def assert_quiet(self, b, *expected):
        """No error in the console, and nothing that the policy stopped, but what is expected, advice about how the test looks at the
        drawing, and answers of a moment in which a shard has no leader."""
        usual = ("willReadFrequently", "503 (Service Unavailable)")
        said = [line for line in b.console() if not any(word in line for word in (*usual, *expected))]
        self.assertEqual(said, [])

    def assert_fits(self, b):
        """Once all of it is drawn for the size that it has now."""
        try:
            b.wait("it to fit", "return document.documentElement.scrollWidth <= window.innerWidth")
        except AssertionError as e:
            raise AssertionError(f"{e}\ntoo wide: " + str(b.js("""return [...document.querySelectorAll("body *")]
                .filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll")).map((e) => e.outerHTML.slice(0, 120))"""))) from None


class Page(WithBrowser):
    def test_a_cluster_in_the_browser(self):
        with make_cluster() as c:
            c.start()
            send(c, past_lines())
            c.wait_count("cloud-1", "wide", 3000)
            c.wait_count("cloud-1", "spread", 240, state="final")
            with browser.Browser() as b:
                b.open(c.url("cloud-1") + "/")
                self.overview(b, c)
                self.query(b, c)
                self.hostile(b, c)
                self.chart_of_the_past(b, c)
                self.many_groups(b)
                self.keyboard(b)
                self.narrow_and_dark(b)
                self.assert_quiet(b)
                self.restart(b, c)

    def overview(self, b, c):
        b.wait("the overview", "return document.querySelectorAll('#edges-table tbody tr').length === 2 && document.querySelectorAll('#streams-table tbody tr').length === 3")
        def edges_agree():
            shown = {r["Edge"]: (r["State"], r["Accepted"].split()[0]) for r in table(b, "#edges-table")}
            return shown == {e["name"]: (e["state"], f"{e['accepted']:,}") for e in c.api("cloud-1", "edges")["edges"]}
        wait_for("the edges as the API has them", edges_agree)

        def cluster_agrees():  # leaders move in the first seconds
            cluster = c.api("cloud-1", "cluster")
            nodes = {r["Node"].split()[0]: r["State"] for r in table(b, "#nodes-table")}
            leaders = {r["Shard"]: r["Leader"] for r in table(b, "#shards-table")}
            return nodes == {n["name"]: n["state"] for n in cluster["nodes"]} and leaders == {
                "meta": cluster["meta"]["leader"], **{str(s["shard"]): s["leader"] for s in cluster["shards"]}}
        wait_for("nodes and leaders as the API has them", cluster_agrees)
        self.assertIn("asked", table(b, "#nodes-table")[0]["Node"])
        wait_for("all groups", lambda: {r["Stream"]: r["Groups"] for r in table(b, "#streams-table")}["wide"] == "3,000")
        b.wait("rates", "return document.querySelector('#streams-table').innerText.includes('/s')")
        self.assertEqual(b.text("#cluster-name"), ["test"])
        b.wait("no complaint", "return document.querySelector('#findings').innerText.includes('Nothing is wrong')")
        self.assertEqual(b.text("#sinks-block"), [])

    def query(self, b, c):
        """The form's URL and its line for the terminal give the rows that the page shows."""
        link = urllib.parse.urlencode({"stream": "spread", "from": T0 + 10, "to": T0 + 40, "window": "20s", "where": "k=a", "select": "count,p90", "limit": 100})
        b.open(c.url("cloud-1") + "/#query?" + link)
        b.wait("the form", "return document.querySelector('#q-window').value === '20s'")
        b.click("#query-form button.primary")
        b.wait("rows", "return document.querySelectorAll('#q-table tbody tr').length > 0")
        rows = table(b, "#q-table")
        url, line = b.text("#q-url")[0], b.text("#q-ctl")[0]
        answer = json.loads(http_get(url))
        self.assertEqual(len(answer["rows"]), len(rows))
        for row, told in zip(answer["rows"], rows):
            self.assertEqual((row["group"]["k"], str(row["values"]["count"]), row["state"]), (told["k"], told["count"], told["State"]))
            self.assertIn(f"±{row['error']['p90'] * 100:.2f} %", told["p90"])
            self.assertEqual(told["From"], row["start"].replace("T", " "))
        words = shlex.split(line)
        self.assertEqual(words[0], "weirctl")
        r = subprocess.run([WEIRCTL, "-o", "json", *words[1:]], capture_output=True, text=True)
        self.assertEqual((r.returncode, json.loads(r.stdout)["rows"]), (0, answer["rows"]), r.stderr)
        self.assertIn("window=20s", b.js("return location.hash"))
        # Paging by cursor: all rows, each once.
        b.type("#q-limit", "4")
        b.js("document.querySelector('#q-window').value = ''; document.querySelector('#q-from').value = ''; document.querySelector('#q-to').value = ''")
        b.click("#query-form button.primary")
        seen = []
        for page in range(1, 9):
            b.wait(f"page {page}", "const s = document.querySelector('#q-summary').innerText; return arguments[0] === 1 ? /^\\d+ rows, windows/.test(s) : s.includes('page ' + arguments[0])", page)
            seen += [(r["From"], r["k"]) for r in table(b, "#q-table")]
            if not b.text("#q-next"):
                break
            b.click("#q-next")
        whole = c.query("cloud-1", "spread", where="k=a")["rows"]
        self.assertEqual(seen, [(r["start"].replace("T", " "), r["group"]["k"]) for r in whole])
        # What cannot be asked is told in the server's words.
        b.type("#q-from", "nonsense")
        b.click("#query-form button.primary")
        b.wait("the refusal", "return document.querySelector('#q-wrong').innerText.includes('nonsense')")
        self.assert_quiet(b, "400 (Bad Request)")

    def hostile(self, b, c):
        b.open(c.url("cloud-1") + "/#query?stream=words&limit=50")
        b.wait("the form", "return document.querySelector('#q-stream').value === 'words'")
        b.click("#query-form button.primary")
        b.wait("rows", "return document.querySelectorAll('#q-table tbody tr').length === arguments[0]", len(HOSTILE))
        texts = b.js("return [...document.querySelectorAll('#q-table tbody tr')].map((tr) => tr.children[2].textContent)")
        self.assertEqual(sorted(texts), sorted(HOSTILE))
        groups = [("stream", "words"), ("range", "5m")] + [("g", urllib.parse.urlencode({"word": w})) for w in HOSTILE[:3]]
        b.open(c.url("cloud-1") + "/#chart?" + urllib.parse.urlencode(groups))
        b.wait("its legend", "return document.querySelector('#chart-legend').textContent.includes(arguments[0])", HOSTILE[1])
        b.open(c.url("cloud-1") + "/#chart?stream=%3Cimg%20src%3Dx%3E&g=%00&range=%27&by=%3Cb%3E&window=-1")
        b.wait("some stream", "return document.querySelector('#chart-stream').value !== ''")
        # Also in the line for the terminal, and in a query of one of them.
        for word in HOSTILE[:3]:
            b.open(c.url("cloud-1") + "/#query?" + urllib.parse.urlencode({"stream": "words", "where": "word=" + word}))
            b.wait("its form", "return [...document.querySelectorAll('#q-where input')].map((e) => e.value).join() === arguments[0]", word)
            r = subprocess.run([WEIRCTL, "-o", "json", *shlex.split(b.js("return document.querySelector('#q-ctl').textContent"))[1:]], capture_output=True, text=True)
            rows = json.loads(r.stdout)["rows"]
            self.assertEqual([x["group"]["word"] for x in rows], [word], r.stderr)
            self.assertEqual(json.loads(http_get(b.js("return document.querySelector('#q-url').textContent")))["rows"], rows)
        self.assertIsNone(b.js("return window.broken || document.querySelector('#main img, #main script') || null"))

    def chart_of_the_past(self, b, c):
        """A stream whose readings are of the past: shown up to its watermark, with the numbers of the API."""
        b.open(c.url("cloud-1") + "/#chart?stream=spread&range=5m")
        b.wait("a drawing", "return document.querySelector('#chart canvas') && document.querySelector('#chart-note').innerText.includes('of the past')")
        for band in ("p50 to p99", "min to max"):
            b.wait(band, "return document.querySelector('#chart-legend').innerText.includes(arguments[0])", band)
        b.click("#chart-details summary")
        rows = c.query("cloud-1", "spread", by="", select="p50,p99,min,max,count")["rows"]
        self.assertGreaterEqual(len(rows), 6)
        want = [(f"{r['values']['count']:,}", f"{r['values']['min']:g}", f"{r['values']['max']:g}") for r in rows]
        wait_for("its table", lambda: [(r.get("count"), r.get("min"), r.get("max")) for r in reversed(table(b, "#chart-table"))] == want)
        b.wait("its drawing", """const c = [...document.querySelectorAll("#chart canvas")].map((c) => c.getContext("2d").getImageData(0, 0, c.width, c.height).data);
            return c.some((d) => { let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n > 2000; })""")

    def many_groups(self, b):
        """3,000 groups: found by typing, never more than a hundred of them in the page, chosen ones drawn and in the link."""
        b.js("location.hash = '#chart?stream=wide&range=5m'")
        b.wait("all together: asked, as the watch would bring too much", "return document.querySelector('#chart-live').dataset.state === 'asked'")
        b.click("#groups-button")
        b.wait("all groups", "return document.querySelector('#groups-panel').innerText.includes('3,000 of 3,000 groups')")
        self.assertEqual(b.js("return document.querySelectorAll('#groups-list li').length"), 100)
        b.type("#groups-search", "host-123 u7")
        b.wait("the one", "return document.querySelectorAll('#groups-list li').length === 1")
        b.click("#groups-list input")
        b.wait("it is drawn", "return document.querySelector('#chart-readout').innerText.includes('1,237')")
        b.wait("watched, as the watch brings it alone", "return document.querySelector('#chart-live').dataset.state === 'live'")
        self.assertEqual(b.js("return new URLSearchParams(location.hash.split('?')[1]).getAll('g')"), ["host=host-123&unit=u7"])
        b.keys("Escape")
        self.assertEqual(b.js("return [document.querySelector('#groups-panel').hidden, document.activeElement.id]"), [True, "groups-button"])

    def keyboard(self, b):
        b.js("document.activeElement.blur()")
        for key, view in (("1", "overview"), ("2", "chart"), ("3", "query"), ("4", "alerts")):
            b.keys(key)
            b.wait(view, "return !document.querySelector('#view-' + arguments[0]).hidden", view)
        b.wait("no alerts", "return document.querySelector('#alerts-empty').innerText.includes('Nothing fires')")
        b.keys("?")
        b.wait("the help", "return document.querySelector('#help').open")
        b.keys("Escape")
        b.wait("no help", "return !document.querySelector('#help').open")
        # From the top, the tabulator reaches every control of the view, and where it is can be seen.
        b.js("location.hash = '#chart?stream=spread&range=5m'")
        b.wait("the chart", "return document.querySelector('#chart canvas')")
        b.js("document.activeElement.blur(); window.scrollTo(0, 0)")
        reached, unseen = set(), []
        for _ in range(50):
            b.keys("Tab")
            at = b.js("""const e = document.activeElement, s = getComputedStyle(e), box = e.closest(".chip"), o = box ? getComputedStyle(box) : s;
                return [e === document.body ? "page" : e.id || (e.dataset.view && "to-" + e.dataset.view) || e.textContent.trim().slice(0, 20), o.outlineStyle !== "none" && parseFloat(o.outlineWidth) >= 1]""")
            if at[0] in reached:
                break
            if at[0] == "page":  # the way around goes over the document itself
                continue
            reached.add(at[0])
            if not at[1]:
                unseen.append(at[0])
        self.assertLessEqual({"to-overview", "to-alerts", "chart-stream", "chart-range", "chart-window", "chart-show", "groups-button", "chart", "theme", "zone", "help-button"}, reached)
        self.assertEqual(unseen, [])
        b.js("document.querySelector('#chart').focus()")
        before = b.text("#chart-readout")[0]
        b.keys("ArrowLeft", "ArrowLeft")
        b.wait("an earlier window", "return document.querySelector('#chart-readout').innerText !== arguments[0]", before)
        b.js("document.activeElement.blur()")
        b.keys("u")
        self.assertEqual(b.text("#zone"), ["Local time"])
        b.keys("u")

    def narrow_and_dark(self, b):
        b.size(*PHONE)
        for view in ("overview", "chart?stream=spread&range=5m", "query?stream=spread", "alerts"):
            b.js("location.hash = '#' + arguments[0]", view)
            b.wait(view, "return !document.querySelector('#view-' + arguments[0].split('?')[0]).hidden", view)
            self.assert_fits(b)
        b.size(1280, 900)
        ground = "return getComputedStyle(document.documentElement).backgroundColor"
        light = b.js(ground)
        b.prefer(color_scheme="dark")
        dark = b.wait("a dark page", ground + " !== arguments[0] && getComputedStyle(document.documentElement).backgroundColor", light)
        # A chart that was not shown as the looks changed is drawn with the new ones.
        b.js("location.hash = '#chart?stream=spread&range=5m'")
        b.wait("the line's colour by night", DRAWN_IN, 109, 184, 236)
        b.js("document.activeElement.blur()")
        b.keys("t", "t")  # dark, light
        b.wait("light, whatever the system says", ground + " === arguments[0]", light)
        b.keys("t")
        b.wait("as the system says", ground + " === arguments[0]", dark)
        b.prefer(color_scheme="light")

    def restart(self, b, c):
        """The node that serves the page is killed: the page says since when it is not reached, and what it shows is marked as old; once
        it is back it goes on by itself."""
        b.js("location.hash = '#overview'")
        b.wait("the overview", "return document.querySelectorAll('#edges-table tbody tr').length === 2")
        c.clouds["cloud-1"].kill()
        b.wait("the word", "return /cloud-1 unreachable since \\d\\d:\\d\\d:\\d\\dZ/.test(document.querySelector('#banner').innerText)")
        b.wait("the mark", "return document.querySelector('#view-overview').classList.contains('stale')")
        self.assertEqual(len(table(b, "#edges-table")), 2)
        c.clouds["cloud-1"].start()
        b.wait("it goes on", "return document.querySelector('#banner').hidden && !document.querySelector('#view-overview').classList.contains('stale')")
        b.wait("all is well again", "return document.querySelector('#findings').innerText.includes('Nothing is wrong')")


class Alerts(WithBrowser):
    def test_an_alert_fires_and_is_resolved(self):
        """A group's window meets the condition: it fires, in the table, in the badge, in weirctl; the next one does not: it is gone."""
        stream = dict(SPREAD, alert={"name": "hot", "when": "p99 > 90 and count >= 2", "severity": "page", "summary": "<u>too hot</u>"})
        with make_cluster(streams=[stream], clouds=1, cluster={"replicas": 1}) as c, browser.Browser() as b:
            c.start()
            b.open(c.url("cloud-1") + "/#alerts")
            b.wait("none", "return document.querySelector('#alerts-empty').innerText.includes('Nothing fires')")
            send(c, [f"m,k={k} v={v} {(T0 + i) * 1_000_000_000}" for i, (k, v) in enumerate([("<i>", 95), ("<i>", 96), ("b", 15), ("b", 5), ("<i>", 97)])])
            b.wait("it fires", "return document.querySelectorAll('#alerts-table tbody tr').length === 1")
            row = table(b, "#alerts-table")[0]
            self.assertEqual([row[k] for k in ("State", "Alert", "Group", "When", "Says")], ["firing", "hot", "k=<i>", "p99 > 90 and count >= 2", "page: <u>too hot</u>"])
            self.assertRegex(row["Values"], r"^p99 9[67](\.\d+)?, count 3$")
            wait_for("its badge", lambda: b.text("#alert-badge") == ["1"])
            listed = subprocess.run([WEIRCTL, "--url", c.url("cloud-1"), "alerts", "-o", "json"], capture_output=True, check=True, text=True).stdout
            self.assertEqual([(a["name"], a["state"], a["group"]) for a in json.loads(listed)["alerts"]], [("hot", "firing", {"k": "<i>"})])
            send(c, [f"m,k=<i> v=5 {(T0 + 10 + i) * 1_000_000_000}" for i in range(2)])
            b.wait("it is resolved", "return document.querySelector('#alerts-empty').innerText.includes('Nothing fires') && document.querySelector('#alert-badge').hidden")
            self.assert_quiet(b)

    def test_what_fires_is_shown(self):
        """Several pages, and names that no topology can have: of /api/v1/alerts as the browser is made to answer it itself."""
        alerts = [{"name": "hot <b>", "stream": "spread", "when": "p99 > 90", "state": state, "since": "2026-01-01T00:00:0%dZ" % i,
                   "window": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:00:10Z"}, "group": {"k": f"<i>{i}</i>"}, "values": {"p99": 91.5},
                   "severity": [None, "page", None][i], "summary": [None, "too hot", "<u>"][i]}
                  for i, state in enumerate(("pending", "firing", "firing"))]
        pages = {"": {"alerts": alerts[:2], "next": "2"}, "?cursor=2": {"alerts": alerts[2:], "next": None}}
        with make_cluster(clouds=1, cluster={"replicas": 1}) as c, browser.Browser() as b:
            c.start(edges=False)
            b.cdp("Page.addScriptToEvaluateOnNewDocument", source="const pages = %s, real = window.fetch; window.fetch = (url, more) => "
                  "String(url).startsWith('/api/v1/alerts') ? Promise.resolve(Response.json(pages[url.slice('/api/v1/alerts'.length)])) : real(url, more);" % json.dumps(pages))
            b.open(c.url("cloud-1") + "/#alerts")
            b.wait("alerts", "return document.querySelectorAll('#alerts-table tbody tr').length === 3")
            rows = table(b, "#alerts-table")
            self.assertEqual([(r["State"], r["Alert"], r["Group"], r["Values"]) for r in rows],
                             [("firing", "hot <b>", "k=<i>2</i>", "p99 91.5"), ("firing", "hot <b>", "k=<i>1</i>", "p99 91.5"), ("pending", "hot <b>", "k=<i>0</i>", "p99 91.5")])
            self.assertEqual([r["Says"] for r in rows], ["<u>", "page: too hot", "–"])
            wait_for("its badge", lambda: b.text("#alert-badge") == ["2"])
            b.click("#alerts-table a")
            b.wait("its chart", "return document.querySelector('#groups-button').innerText === 'k=<i>2</i>'")
            self.assert_quiet(b)


class SinksShown(WithBrowser):
    def test_a_sink_fails_and_delivers_again(self):
        """Its receiver goes, and a node: since when and where it fails, what waits, whose part is missing; then all is well again."""
        r = Receiver()
        with make_cluster(streams=[SPREAD]) as c, browser.Browser() as b:
            c.spec["sinks"] = [{"name": "a-file", "type": "file", "path": "out-{node}.jsonl"}, hook(r)]
            c.write_config()
            c.start()
            send(c, past_lines())
            b.open(c.url("cloud-1") + "/")
            b.wait("both deliver", "return [...document.querySelectorAll('#sinks-table tbody tr')].filter((tr) => /delivers\\t[1-9]\\d*\\t0\\t/.test(tr.innerText)).length === 2")
            self.assertEqual([(x["Sink"], x["Type"], x["State"]) for x in table(b, "#sinks-table")], [("a-file", "file", "delivers"), ("hook", "webhook", "delivers")])
            r.stop()
            send(c, [f"m,k=a v=1 {(T0 + 60 + i) * 1_000_000_000}" for i in range(60)])
            b.wait("it fails, first of all, and something waits", "return /^hook\\s+webhook\\s+failing for [\\d.]+ (min|s).* at cloud-\\d.*\\t[1-9]\\d*\\t[\\d.]+ /.test(document.querySelector('#sinks-table tbody tr').innerText)")
            self.assertRegex(b.text("#findings")[0], rf"Sink hook has failed for .* at cloud-\d.*: http://127.0.0.1:{r.port}: ")
            self.assertEqual(table(b, "#sinks-table")[1]["State"], "delivers")
            self.looks(b)
            c.clouds["cloud-3"].kill()
            b.wait("its part is missing", "return document.querySelector('#sinks-unanswered').innerText === 'Without what cloud-3 delivers: no answer.'")
            c.clouds["cloud-3"].start()
            b.wait("it is not", "return document.querySelector('#sinks-unanswered').hidden")
            r.start()
            b.wait("it delivers again", "return [...document.querySelectorAll('#sinks-table tbody tr')].every((tr) => /delivers\\t[^\\t]+\\t0\\t/.test(tr.innerText))", deadline_s=60)
            b.wait("all is well again", "return document.querySelector('#findings').innerText.includes('Nothing is wrong')")
            self.assert_quiet(b)
            r.stop()

    def looks(self, b):
        b.js("window.scrollTo(0, 0); document.activeElement.blur()")
        for _ in range(30):
            b.keys("Tab")
            if b.js("return document.activeElement.getAttribute('aria-labelledby') === 'sinks-title' && getComputedStyle(document.activeElement).outlineStyle !== 'none'"):
                break
        else:
            self.fail("the table is not reached by Tab")
        b.size(*PHONE)
        self.assert_fits(b)
        b.size(1280, 900)


# A fleet, as the browser is made to answer it itself: /api/v1/edges and /api/v1/streams.
FLEET = """const edges = %d, streams = %d, perEdge = 20, real = window.fetch, ns = Date.now();
    const at = (ms) => new Date(ns - ms).toISOString();
    const stream = (i) => ({name: "stream-" + i, version: 1, phase: "current", window: "10s", slice: "10s", by: ["k"], compute: ["count"], columns: ["count"],
        received: 1000 * i, merged: i, groups: 10, watermark: at(10000), final: at(20000), dropped: {}});
    const edge = (i) => ({name: "edge-" + i, state: i %% 10 ? "live" : "partitioned", accepted: 1000 + i, refused: {bad_field: i %% 3}, spool_bytes: i,
        heard_ms_ago: 400, streams: Array.from({length: perEdge}, (_, k) => ({name: "stream-" + k, watermark: at(10000 + i)}))});
    const made = (n, one) => Array.from({length: n}, (_, i) => one(i));
    const answers = {"/api/v1/edges": JSON.stringify({edges: made(edges, edge)}), "/api/v1/streams": JSON.stringify({streams: made(streams, stream)})};
    window.fetch = (url, more) => answers[url] ? Promise.resolve(new Response(answers[url])) : real(url, more);"""


class Fleet(WithBrowser):
    EDGES, STREAMS = 5000, 1000

    def test_a_large_fleet(self):
        """What is in the page is bounded, says of how many it is, and grows by steps; who is looked for is found."""
        with make_cluster(clouds=1, cluster={"replicas": 1}) as c, browser.Browser() as b:
            c.start(edges=False)
            b.cdp("Page.addScriptToEvaluateOnNewDocument", source=FLEET % (self.EDGES, self.STREAMS))
            b.open(c.url("cloud-1") + "/")
            count = "return document.querySelectorAll(arguments[0] + ' tbody tr').length"
            b.wait("the fleet", "return document.querySelector('#flow-edges').innerText === '5,000'")
            self.assertEqual([b.js(count, t) for t in ("#edges-table", "#streams-table")], [50, 50])
            self.assertEqual(b.text("#edges-shown") + b.text("#streams-shown"), ["50 of 5,000 edges are shown", "50 of 1,000 streams are shown"])
            self.assertEqual({r["State"] for r in table(b, "#edges-table")}, {"partitioned"})
            self.assertIn("500 edges are partitioned", b.text("#findings")[0])
            b.click("#edges-more")
            self.assertEqual(b.js(count, "#edges-table"), 250)
            for _ in range(4):
                b.click("#edges-more")
            self.assertEqual(b.js(count, "#edges-table"), 1000)
            self.assertTrue(b.js("return document.querySelector('#edges-more').hidden"))
            self.assertEqual(b.text("#edges-shown"), ["1,000 of 5,000 edges are shown"])
            b.type("#edges-filter", "edge-4321")
            b.wait("the one", "return document.querySelectorAll('#edges-table tbody tr').length === 1")
            self.assertTrue(b.js("return document.querySelector('#edges-shown').hidden"))
            self.assertLess(b.js("return document.querySelectorAll('*').length"), 12000)
            self.assert_quiet(b)


class Live(WithBrowser):
    def test_a_chart_follows(self):
        """Windows come as they close, without a reload: provisional while an edge is missing, final once it is heard again, replaced by
        their revisions; also through the death of the node's neighbour, and of the node."""
        with make_cluster(streams=[dict(SPREAD, window="2s")], cluster={"partitioned_after": "2s"}) as c:
            c.start()
            states = """const row = [...document.querySelectorAll("#chart-table tbody tr")].find((tr) => tr.children[0].innerText.includes(arguments[0]));
                return row ? row.innerText : "";"""
            begin = int(time.time()) // 2 * 2 - 40
            clock = time.strftime("%H:%M:%S", time.gmtime(begin))

            def at(second, value, k="a"):
                return f"m,k={k} v={value} {(begin + second) * 1_000_000_000}"
            c.edges["edge-2"].kill()
            send(c, [at(0, 10), at(1, 20)])
            with browser.Browser() as b:
                b.open(c.url("cloud-1") + "/#chart?stream=spread&range=5m&g=k%3Da")
                b.wait("followed", "return document.querySelector('#chart-live').dataset.state === 'live'")
                b.click("#chart-details summary")
                b.wait("the window", states.replace('row.innerText : ""', "row.innerText.includes('20') : false"), clock)
                send(c, [at(10, 30)])
                b.wait("provisional", states.replace('row.innerText : ""', "/provisional/.test(row.innerText) : false"), clock)
                b.wait("a tinted ground", TINTED)
                send(c, [at(1, 50)])  # late: a revision
                b.wait("its revision", states.replace('row.innerText : ""', "/revision [2-9]/.test(row.innerText) && row.innerText.includes('50') : false"), clock)
                c.clouds["cloud-2"].kill()
                c.edges["edge-2"].start()
                b.wait("final", states.replace('row.innerText : ""', "/final/.test(row.innerText) : false"), clock)
                b.click("#chart-details summary")
                b.wait("no more of the tint", f"const tinted = (() => {{ {TINTED} }})(); return !tinted || document.querySelector('#chart-readout').innerText.includes('open')")
                b.click("#chart-details summary")
                c.clouds["cloud-2"].start()
                c.wait_ready()
                self.assert_quiet(b)
                c.clouds["cloud-1"].kill()
                b.wait("it is told", "return document.querySelector('#chart-live').dataset.state === 'waiting'")
                send(c, [at(20, 70), at(30, 80)])
                c.wait_count("cloud-2", "spread", 6)
                c.clouds["cloud-1"].start()
                b.wait("what was missed", states.replace('row.innerText : ""', "row.innerText.includes('70') : false"), time.strftime("%H:%M:%S", time.gmtime(begin + 20)))
                b.wait("followed again", "return document.querySelector('#chart-live').dataset.state === 'live'")


class Secure(WithBrowser):
    def test_a_token_is_asked_for(self):
        """With keys: the page is for everybody and says nothing; a wrong token, one that is taken back, and one that does."""
        with make_cluster(security=True) as c:
            c.start()
            send(c, past_lines())
            reader = os.path.join(c.dir, "reader.token")

            def token(*args):
                subprocess.run([WEIRCTL, "token", *args, "--config", c.config], check=True, capture_output=True, cwd=c.dir)
            token("add", "reader", "--role", "read", "--out", reader)
            with open(reader) as f:
                secret = f.read().strip()
            with browser.Browser(accept_insecure_certs=True) as b:
                b.open(c.url("cloud-1") + "/#chart?stream=spread&range=5m")
                b.wait("the question", "return !document.querySelector('#view-sign-in').hidden")
                self.assertNotIn("spread", b.js("return document.body.innerText"))
                b.type("#token", "weir_wrong")
                b.click("#sign-in-form button")
                b.wait("the refusal", "return document.querySelector('#sign-in-why').innerText.includes(\"nobody's token\")")
                b.type("#token", secret)
                b.click("#sign-in-form button")
                b.wait("the chart", "return document.querySelector('#chart canvas')")
                b.wait("the watch, with the token", "return document.querySelector('#chart-live').dataset.state === 'live'")
                self.assertEqual(b.js("return [sessionStorage.getItem('weir.token') === arguments[0], JSON.stringify(localStorage).includes(arguments[0]), location.href.includes(arguments[0])]", secret), [True, False, False])
                b.js("location.hash = '#query?stream=spread'")
                b.wait("the form", "return document.querySelector('#q-ctl').innerText.includes('--token-file')")
                self.assertNotIn(secret, b.text("#q-ctl")[0])
                token("remove", "reader")
                b.wait("the question again", "return !document.querySelector('#view-sign-in').hidden")
                b.wait("the reason", "return document.querySelector('#sign-in-why').innerText.includes('not valid')")
                self.assert_quiet(b, "401 (Unauthorized)")


class Watch(unittest.TestCase):
    def test_only_some_groups(self):
        """/api/v1/watch with where: of 3,000 groups those that were asked for, each row once, also by weirctl and after a break."""
        with make_cluster() as c:
            c.start()
            lines = past_lines()
            connection = http.client.HTTPConnection("127.0.0.1", c.http["cloud-1"], timeout=60)
            connection.request("GET", "/api/v1/watch?stream=wide&where=host=host-007&where=unit=u1&where=unit=u2")
            events = connection.getresponse()
            first = events.readline().decode().split(": ", 1)[1].strip()
            send(c, lines)
            seen = []
            while len(seen) < 2:
                line = events.readline().decode()
                if line.startswith("data: "):
                    seen.append(json.loads(line[6:])["group"])
            connection.close()
            self.assertEqual(sorted(g["unit"] for g in seen), ["u1", "u2"])
            r = c.ctl("-o", "json", "watch", "wide", "--where", "unit=u3", "--where", "host=host-299", "--since", first, "--count", "1")
            self.assertEqual(json.loads(r.stdout)["group"], {"host": "host-299", "unit": "u3"})
            with self.assertRaises(ApiError) as e:
                c.get("cloud-1", "/api/v1/watch", stream="wide", where="nonsense")
            self.assertEqual(e.exception.code, "bad_request")


class Files(unittest.TestCase):
    """How the page's files are served."""

    def ask(self, c, method, path, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", c.http["cloud-1"], timeout=60)
        connection.request(method, path, headers=headers)
        r = connection.getresponse()
        body = r.read()
        connection.close()
        return r.status, {k.lower(): v for k, v in r.getheaders()}, body

    def test_headers_and_what_is_kept(self):
        with Cluster(clouds=1, edges={}, streams=[], cluster={"replicas": 1, "security": "none"}, security=False) as c:
            c.start()
            status, headers, page = self.ask(c, "GET", "/")
            self.assertEqual((status, headers["content-type"]), (200, "text/html; charset=utf-8"))
            policy = dict(p.strip().split(" ", 1) for p in headers["content-security-policy"].split(";"))
            self.assertEqual(policy, {"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'", "connect-src": "'self'",
                                      "form-action": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'"})
            self.assertEqual((headers["x-content-type-options"], headers["referrer-policy"], headers["cache-control"]), ("nosniff", "no-referrer", "no-cache"))
            links = re.findall(rb'(?:src|href)="(/web/[^"]+)"', page)
            self.assertGreaterEqual(len(links), 5)
            modules = set(links)
            for link in sorted(links):
                modules |= {b"/web/" + m for m in re.findall(rb'from "\./([a-z]+\.js)"', self.ask(c, "GET", link.decode())[2])}
            types = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
            for path in sorted(m.decode() for m in modules):
                status, headers, body = self.ask(c, "GET", path)
                self.assertEqual((path, status, headers["content-type"]), (path, 200, types[path.rsplit(".", 1)[1]]))
                again = self.ask(c, "GET", path, **{"If-None-Match": headers["etag"]})
                self.assertEqual((again[0], again[2], again[1]["etag"]), (304, b"", headers["etag"]))
                head = self.ask(c, "HEAD", path)
                self.assertEqual((head[0], head[2], head[1]["content-length"]), (200, b"", str(len(body))))
            for path in ("/web/", "/web/nothing.js", "/web/../index.html", "/web/%2e%2e%2fx"):
                self.assertIn(self.ask(c, "GET", path)[0], (400, 404), path)
            self.assertEqual(self.ask(c, "POST", "/")[0], 405)
            self.assertEqual(self.ask(c, "GET", "/api/v1/cluster")[1]["cache-control"], "no-store")
