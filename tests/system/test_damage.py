"""Damage: bits flipped in a stopped node's data, logs with a hole, replicas that differ, a disk whose sync fails. What is found is
repaired from the other replicas, nothing wrong is served, and nothing keeps a node from starting."""

import calendar
import json
import os
import random
import shutil
import socket
import re
import struct
import subprocess
import time
import unittest

from test_failover import cluster_of, wait_equal_digests, wait_led
from test_faults import T0, check_exact, make_lines, send, stream, tcp_edge
from weirtest import (BUILD, CLOUDD, DEADLINE_S, LONG, NS, ApiError, Cluster, assert_rows, metric_sum, oracle_windows,
                      parse_simple_lines, slow, wait_for)

FIELDS = ["count", "sum", "min", "max", "first", "last", "mean"]
SEED = int(os.environ.get("WEIR_SEED", "1"))
FLIPS = 100
PER_START = 1 if LONG else 20


def data_file(c, node, name):
    return os.path.join(c.dir, "run", node, name, "data.mdb")


def pages_of(path):
    """(used, page) of the file: pages that hold something, by their heads."""
    with open(path, "rb") as f:
        data = f.read()
    return [n for n in range(len(data) // 4096) if n < 2 or struct.unpack_from("<Q", data, n * 4096)[0] == n]


def flip(rng, path):
    """One bit, somewhere; half of them where a page's head or a meta page is."""
    pages = pages_of(path)
    size = os.path.getsize(path)
    if rng.random() < 0.5:
        at = rng.choice(pages) * 4096 + rng.randrange(160)
    else:
        at = rng.choice(pages) * 4096 + rng.randrange(4096)
    at = min(at, size - 1)
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1 << rng.randrange(8)]))
    return at


def check_rows(c, node, lines, **params):
    assert_rows(c.query(node, "s", **params)["rows"],
                oracle_windows(parse_simple_lines("".join(lines)), ["k"], 10 * NS), ["k"], 10 * NS, FIELDS)


def three(**more):
    return Cluster(edges={"edge-1": tcp_edge()}, streams=[stream()],
                   cluster=dict({"shards": 4, "replicas": 3}, **more))


class FlippedBits(unittest.TestCase):
    def test_a_hundred_flipped_bits(self):
        rng = random.Random(SEED)
        lines = make_lines(3000, groups=40)
        found = harmless = 0
        with three() as c:
            c.start()
            send(c.tcp["edge-1"], lines)
            check_exact(self, c, lines)
            victims = ["cloud-2", "cloud-1", "cloud-3"]
            for done in range(0, FLIPS, PER_START):
                victim = victims[done // PER_START % 3]
                d = c.clouds[victim]
                self.assertEqual(d.stop(), 0, d.log_tail())
                places = [(name, flip(rng, data_file(c, victim, name)))
                          for name in (rng.choice(["log", "state"]) for _ in range(PER_START))]
                before = len(d.log())
                d.start()
                c.wait_ready([victim])
                said = d.log()[before:]
                for name in ("log", "state"):
                    if not any(n == name for n, _ in places):
                        continue
                    if re.search(f"(damaged.*environment={name}|the {name} is damaged)", said):
                        found += 1
                    else:
                        harmless += 1
                wait_equal_digests(c)
                for node in c.cloud_names:
                    check_rows(c, node, lines)
                check_rows(c, victim, lines, stale="ok")
            print(f"    {FLIPS} bits: {found} stores found damaged, {harmless} flips without effect", end=" ")
            self.assertGreater(found, 0)
            send(c.tcp["edge-1"], [f"m,k=g1 v=1 {T0 + 400 * NS}\n"])
            check_exact(self, c, lines + [f"m,k=g1 v=1 {T0 + 400 * NS}\n"])
            for d in c.clouds.values():
                self.assertTrue(d.running(), d.log_tail())


EDIT = os.path.join(BUILD, "tests", "system", "edit_store")


def edit(*args):
    r = subprocess.run([EDIT, *[str(a) for a in args]], capture_output=True, text=True)
    if r.returncode:
        raise AssertionError(f"{args}: {r.stderr}")
    return r.stdout


def held(c, node, metric, **labels):
    return metric_sum(c.metrics(node), metric, **labels)


class Offline(unittest.TestCase):
    def check_dump(self, c, name, folder):
        """Each record says what it is and decodes; with --hex it is as it lies there; --group gives one group's."""
        records = json.loads(c.ctl("-o", "json", "store", "check", folder).stdout)["records"]
        self.assertGreater(records, 0)
        plain = [json.loads(line) for line in c.ctl("store", "dump", folder).stdout.splitlines()]
        raw = [json.loads(line) for line in c.ctl("store", "dump", folder, "--hex").stdout.splitlines()]
        self.assertEqual([len(plain), len(raw)], [records, records])
        self.assertEqual([(r["db"], r["key"], r["bytes"]) for r in plain], [(r["db"], r["key"], r["bytes"]) for r in raw])
        for r in plain:
            self.assertIn("what", r)
            self.assertNotIn("unreadable", r)
        for r in raw:
            self.assertEqual(len(r["value"]), 2 * r["bytes"])
        if name.startswith("cloud"):
            of_group = [json.loads(line) for line in c.ctl("store", "dump", folder, "--group", "1").stdout.splitlines()]
            self.assertEqual(of_group, [r for r in plain if r["db"] == "group-001"])
        return plain

    def check_contents(self, dumps):
        log, state, spool = (dumps[n] for n in ("cloud-1/log", "cloud-1/state", "edge-1/spool"))
        entries = [r["entry"] for r in log if r["what"] == "entry" and r["kind"] == "data"]
        for kind in ("create", "claim", "topology", "close", "open", "batch", "advance", "map"):
            self.assertIn(kind, entries)
        batched = sum(p["partial"]["count"] for r in log if r.get("entry") == "batch" for p in r["batch"]["partials"])
        stored = sum(r["partial"]["count"] for r in state if r["what"] == "partial")
        self.assertEqual([batched, stored], [200, 200])
        partial = next(r for r in state if r["what"] == "partial")
        self.assertEqual([partial["stream"], partial["level"], len(partial["group"])], ["s", 0, 1])
        self.assertTrue(partial["start"].endswith("Z"))
        what = {r["what"] for r in state}
        self.assertLessEqual({"head", "map", "stream", "counts", "advance", "edge", "meta_edge", "cluster_id", "close", "layout"}, what)
        marks = {r["mark"]: r for r in spool if r["what"] == "mark"}
        self.assertEqual(marks["ledger"]["accepted"], 200)
        self.assertEqual(marks["epoch"]["number"], 1)
        self.assertIn("next", marks["shard/0"])

    def check_an_older_node(self, c, log):
        """An entry of a kind that only a later version knows: the shard stands still there, and that is told everywhere."""
        index = int(edit("later", log, 1, 1))
        r = c.ctl("store", "dump", log, "--group", "1")
        last = json.loads(r.stdout.splitlines()[-1])
        self.assertEqual([last["index"], last["entry_kind"], last["unreadable"]], [index, 77, "an entry of a later version of weir"])
        node = c.clouds["cloud-1"]
        node.start()
        c.wait_healthy("cloud-1")
        said = f"shard 0 stands still here before entry {index} (kind 77, format 1), which is of a later version of weir: upgrade cloudd"

        def not_ready():
            try:
                c.get("cloud-1", "/readyz")
            except Exception as e:
                return said in str(e)
        wait_for("it is told", not_ready)
        self.assertEqual(metric_sum(c.metrics("cloud-1"), "weir_cloud_outdated_entry_index", group="1", kind="77"), index)
        findings = json.loads(c.ctl("-o", "json", "doctor", check=False).stdout)["findings"]
        found = [f for f in findings if f["check"] == "outdated"]
        self.assertEqual([(f["about"], f["severity"]) for f in found], [("cloud-1", "critical")])
        wait_for("the log says so", lambda: f"OUTDATED: nothing is applied here any more: this replica stands still before entry {index}" in node.log())
        rows = c.api("cloud-1", "query", stream="s", stale="ok")["rows"]
        self.assertEqual(sum(row["values"]["count"] for row in rows), 200)
        node.stop()

    def test_stores_are_checked_and_dumped(self):
        """weirctl store, of both kinds of daemons; and an edge whose spool's pages are damaged says so, and starts."""
        with Cluster(clouds=1, edges={"edge-1": tcp_edge()}, streams=[stream()], cluster={"shards": 1, "replicas": 1}) as c:
            c.start()
            lines = make_lines(200)
            send(c.tcp["edge-1"], lines)
            check_exact(self, c, lines)
            folders = {n: os.path.join(c.dir, "run", *n.split("/")) for n in ("cloud-1/log", "cloud-1/state", "edge-1/spool")}
            for folder in folders.values():
                r = c.ctl("store", "check", folder, check=False)
                self.assertEqual(r.returncode, 1)
                self.assertIn("in use by a daemon", r.stderr)
            c.stop()
            dumps = {}
            for name, folder in folders.items():
                r = c.ctl("store", "check", folder)
                self.assertRegex(r.stdout, "edged.*fine" if "spool" in name else "cloudd.*fine")
                dumps[name] = self.check_dump(c, name, folder)
            self.check_contents(dumps)
            marks = c.ctl("store", "dump", folders["edge-1/spool"], "--db", "mark", "--hex").stdout
            self.assertIn('"key_text": "epoch"', marks)
            self.assertEqual(c.ctl("store", "dump", folders["cloud-1/log"], "--group", "x", check=False).returncode, 2)
            key = next(r["key"] for r in dumps["cloud-1/state"] if r["what"] == "partial")
            state = os.path.join(folders["cloud-1/state"], "data.mdb")
            shutil.copy(state, state + ".before")
            edit("spoil", folders["cloud-1/state"], 1, 2, key)
            r = c.ctl("store", "dump", folders["cloud-1/state"], check=False)
            lost = [x for x in map(json.loads, r.stdout.splitlines()) if "damaged" in x]
            self.assertEqual([(r.returncode, x["db"], x["key"], x["what"], x["stream"]) for x in lost],
                             [(1, "group-001", key, "partial", "s")])
            os.replace(state + ".before", state)
            self.check_an_older_node(c, folders["cloud-1/log"])
            spool = os.path.join(folders["edge-1/spool"], "data.mdb")
            with open(spool, "r+b") as f:
                for page in (0, 1):  # the root of the list of databases
                    f.seek(4096 * page + 128)
                    f.write(b"\x77")
            r = c.ctl("store", "check", folders["edge-1/spool"], check=False)
            self.assertEqual(r.returncode, 1)
            self.assertIn("damaged", r.stdout)
            c.edges["edge-1"].start()
            c.wait_healthy("edge-1")
            self.assertIn("DAMAGED: pages of the spool do not read", c.edges["edge-1"].log())
            self.assertTrue(os.path.exists(spool + ".damaged"))
            self.assertEqual(held(c, "edge-1", "weir_edge_spool_salvages_total"), 1)


SPOOL_FLIPS = 50


class Spool(unittest.TestCase):
    def damage(self, rng, c, path):
        """A bit that the check finds, if one of some does: most of a small spool's file is free."""
        for _ in range(12):
            with open(path, "rb") as f:
                before = f.read()
            flip(rng, path)
            r = c.ctl("store", "check", os.path.dirname(path), check=False)
            if r.returncode:
                return True
            with open(path, "wb") as f:
                f.write(before)
        return False

    def check_nothing_twice(self, c, written):
        """Each group's window has at most what was written of it; all of it where it has as many."""
        expected = {}
        for i in range(written):
            key = (i % 7, T0 // NS + i - (T0 // NS + i) % 10)
            count, total = expected.get(key, (0, 0))
            expected[key] = (count + 1, total + i)
        merged = 0
        for row in c.query("cloud-1", "s")["rows"]:
            start = calendar.timegm(time.strptime(row["start"][:19], "%Y-%m-%dT%H:%M:%S"))
            count, total = expected[int(row["group"]["k"][1:]), start]
            self.assertLessEqual(row["values"]["count"], count, row)
            if row["values"]["count"] == count:
                self.assertEqual(row["values"]["sum"], total, row)
            merged += row["values"]["count"]
        return merged

    def test_fifty_flipped_bits_of_an_edges_spool(self):
        """It starts each time, nothing is counted twice, what is lost is in the ledger."""
        rng = random.Random(SEED)
        written = damaged = 0
        edge = tcp_edge(sources=[{"type": "file", "path": "in.lp", "follow": True}], flush="1s")
        with Cluster(clouds=1, edges={"edge-1": edge}, streams=[stream()],
                     cluster={"shards": 4, "replicas": 1, "partitioned_after": "1s"}) as c:
            c.start()
            d, spool = c.edges["edge-1"], os.path.join(c.dir, "run", "edge-1", "spool", "data.mdb")

            def write(count):
                nonlocal written
                with open(os.path.join(c.dir, "in.lp"), "a") as f:
                    f.write("".join(f"m,k=g{i % 7} v={i} {T0 + i * NS}\n" for i in range(written, written + count)))
                written += count

            def state(name):
                return held(c, "edge-1", "weir_edge_uplink_state", state=name)

            for i in range(SPOOL_FLIPS):
                if i == 10:
                    self.assertEqual(c.clouds["cloud-1"].stop(), 0)  # so that there is something in the spool
                if i == 35:
                    c.clouds["cloud-1"].start()
                    c.wait_ready()
                write(20)
                time.sleep(0.2)
                self.assertEqual(d.stop(), 0, d.log_tail())
                damaged += self.damage(rng, c, spool)
                d.start()
                c.wait_healthy("edge-1")
                if i >= 35 and state("fenced"):
                    c.ctl("edge", "readmit", "edge-1")
            def let_in():  # what it is refused for, it may be told of at any time now
                if state("fenced"):
                    c.ctl("edge", "readmit", "edge-1")
                return state("ready")
            for _ in range(2):
                wait_for("all is delivered", lambda: let_in() and held(c, "edge-1", "weir_edge_spool_batches") == 0
                         and held(c, "edge-1", "weir_edge_open_partials") == 0)
                time.sleep(0.5)
            said = d.log()
            losses = held(c, "edge-1", "weir_edge_spool_losses_total")
            merged = self.check_nothing_twice(c, written)
            self.assertGreater(damaged, SPOOL_FLIPS // 3)
            self.assertIn("DAMAGED: pages of the spool do not read", said)
            dropped = held(c, "edge-1", "weir_edge_stream_dropped_total")
            if not losses and "FENCED" not in said:
                self.assertGreaterEqual(merged + dropped, written)
            print(f"    {damaged} spools damaged: {merged} of {written} readings merged, {dropped:.0f} counted as dropped, "
                  f"{losses:.0f} times given up", end=" ")
            write(20)
            c.wait_count("cloud-1", "s", merged + 20)
            self.assertEqual(self.check_nothing_twice(c, written), merged + 20)


class OneReplicaDiffers(unittest.TestCase):
    @slow
    def test_a_divergent_replica_says_so_and_is_mended(self):
        """A record more, with every checksum right: only the digests at the same entry tell, within the next 1,000."""
        edges = {"edge-1": tcp_edge(tick="10ms", flush="10ms")}
        with Cluster(edges=edges, streams=[stream()], cluster={"shards": 1, "replicas": 3}) as c:
            c.start()
            lines = make_lines(50)
            send(c.tcp["edge-1"], lines)
            check_exact(self, c, lines)
            victim = wait_led(c)[0]  # the leader of the shard: it hands over
            d = c.clouds[victim]
            self.assertEqual(d.stop(), 0, d.log_tail())
            edit("diverge", os.path.dirname(data_file(c, victim, "state")), 1, 1)
            d.start()
            c.wait_ready([victim])
            sent = len(lines)
            with socket.create_connection(("127.0.0.1", c.tcp["edge-1"])) as s:
                def diverged():
                    nonlocal sent
                    for _ in range(200):
                        line = f"m,k=g1 v=1 {T0 + sent * NS // 10}\n"
                        lines.append(line)
                        s.sendall(line.encode())
                        sent += 1
                        time.sleep(0.008)  # a tick each: an entry each
                    return held(c, victim, "weir_cloud_damaged_states_total") >= 1
                wait_for("the divergent replica gives up its state", diverged, 3 * DEADLINE_S)  # a thousand commits
            c.wait_ready([victim])
            wait_for("it says why", lambda: "divergent: its digest is not that of the other replicas" in d.log())  # by readiness, if not by a notice
            wait_for("it is mended", lambda: held(c, victim, "weir_cloud_snapshots_fetched_total") >= 1)
            self.assertEqual(held(c, victim, "weir_cloud_damaged_states_total"), 1)
            for other in set(c.cloud_names) - {victim}:
                self.assertEqual(held(c, other, "weir_cloud_damaged_states_total"), 0)
            check_exact(self, c, lines)
            wait_equal_digests(c)


class DamagedRecords(unittest.TestCase):
    def test_a_lost_vote_makes_another_member_with_its_states(self):
        lines = make_lines(500)
        with three() as c:
            c.start()
            send(c.tcp["edge-1"], lines)
            check_exact(self, c, lines)
            d = c.clouds["cloud-2"]
            self.assertEqual(d.stop(), 0, d.log_tail())
            edit("spoil", os.path.dirname(data_file(c, "cloud-2", "log")), 4, 0, "67" + "00000001")  # group 1's term and vote
            d.start()
            c.wait_ready(["cloud-2"])
            self.assertIn("joins its shards again, as a new member", d.log())
            wait_equal_digests(c)
            self.assertEqual(held(c, "cloud-2", "weir_cloud_snapshots_fetched_total"), 0)  # its states were there
            check_exact(self, c, lines)

    def test_the_last_copy_is_not_set_aside(self):
        """Where nobody else has it, what is damaged stays where it is, under its name, and is not taken for empty."""
        with three() as c:
            c.start(edges=False)
            c.stop()
            folder = os.path.join(c.dir, "run", "cloud-1")

            def refused(name, why):
                path = data_file(c, "cloud-1", name)
                with open(path, "r+b") as f:
                    for page in pages_of(path)[2:]:  # all: any of them may be one that was freed
                        f.seek(page * 4096)
                        f.write(b"\xff" * 16)
                before = os.stat(path)
                r = subprocess.run([CLOUDD, "--config", c.config, "--node", "cloud-1", "--begin-alone"], cwd=c.dir, capture_output=True, text=True)
                self.assertEqual(r.returncode, 2, r.stderr)
                self.assertIn(why, r.stderr)
                now = os.stat(path)
                self.assertEqual((now.st_ino, now.st_mtime_ns), (before.st_ino, before.st_mtime_ns))
                self.assertFalse(os.path.exists(path + ".damaged"))
            refused("log", "there is a log, a damaged one")
            os.rename(os.path.join(folder, "log"), os.path.join(c.dir, "log-of-before"))
            refused("state", "is damaged: begin with another node's, or with a copy")

    def test_one_replica_serves_the_rest(self):
        """Nobody else has it: who asks for what is lost is told, and nobody gets a wrong number."""
        lines = [f"m,k=g{i % 10} v={i} {T0 + i * NS // 10}\n" for i in range(2000)]
        with Cluster(clouds=1, edges={"edge-1": tcp_edge()}, streams=[stream()],
                     cluster={"shards": 1, "replicas": 1}) as c:
            c.start()
            send(c.tcp["edge-1"], lines)
            c.wait_count("cloud-1", "s", len(lines), state="final")
            d = c.clouds["cloud-1"]
            self.assertEqual(d.stop(), 0, d.log_tail())
            start = (T0 + 100 * NS) ^ (1 << 63)  # a partial's key: p, stream id, level, slice start, group
            edit("spoil", os.path.dirname(data_file(c, "cloud-1", "state")), 1, 2,
                 "70" + "00000001" + "00" + f"{start:016x}" + "02" + b"g0".hex())
            d.start()
            c.wait_ready(["cloud-1"])
            self.assertEqual(held(c, "cloud-1", "weir_cloud_damaged_records_total", environment="state"), 1)
            good = c.query("cloud-1", "s", **{"from": "2023-11-14T22:13:20Z", "to": "2023-11-14T22:14:50Z"})["rows"]
            self.assertEqual(sum(r["values"]["count"] for r in good), 900)
            with self.assertRaises(ApiError) as e:
                c.query("cloud-1", "s")
            self.assertEqual(e.exception.status, 503)
            self.assertEqual(e.exception.code, "damaged")


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int fdatasync(int fd)
{
	char link[64], path[4096];
	const char *where = getenv("WEIR_TEST_SYNC_FAILS"), *flag = getenv("WEIR_TEST_SYNC_FLAG");
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = 0;
	if (where && strstr(path, where) && !access(flag, F_OK)) {
		errno = EIO;
		return -1;
	}
	int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
	return real(fd);
}
"""


class FailingSync(unittest.TestCase):
    def fails(self, who, where):
        compiler = shutil.which("cc")
        if not compiler:
            self.skipTest("no C compiler")
        lines = make_lines(400)
        with Cluster(edges={"edge-1": tcp_edge()}, streams=[stream()],
                     cluster={"shards": 2, "replicas": 3}) as c:
            shim, flag = os.path.join(c.dir, "shim.so"), os.path.join(c.dir, "sync-fails")
            subprocess.run([compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", shim, "-ldl"], input=SHIM, text=True, check=True)
            d = c.clouds.get(who) or c.edges[who]
            d.env = {"LD_PRELOAD": shim, "WEIR_TEST_SYNC_FAILS": where, "WEIR_TEST_SYNC_FLAG": flag}
            c.start()
            send(c.tcp["edge-1"], lines[:200])
            check_exact(self, c, lines[:200])
            open(flag, "w").close()
            if who == "edge-1":
                try:
                    send(c.tcp["edge-1"], lines[200:201])
                except OSError:
                    pass
            else:
                send(c.tcp["edge-1"], lines[200:])
            wait_for(f"{who} stops", lambda: not d.running())
            self.assertNotEqual(d.process.returncode, 0)
            self.assertRegex(d.log(), "cannot be written|cannot be trusted")
            os.unlink(flag)
            d.start()
            if who == "edge-1":
                c.wait_healthy(who)
                rest = lines[201:] if self.took(c, 201) else lines[200:]
                send(c.tcp["edge-1"], rest)
            check_exact(self, c, lines)

    def took(self, c, count):
        return metric_sum(c.metrics("edge-1"), "weir_edge_readings_accepted_total") >= count

    def test_of_a_clouds_log(self):
        self.fails("cloud-2", "/log/")

    def test_of_a_clouds_state(self):
        self.fails("cloud-2", "/state/")

    def test_of_an_edge(self):
        self.fails("edge-1", "/run/edge-1/")
