"""Debian's packages of Weir on machines with systemd: installed by apt, started, killed, hung, rebooted, upgraded, removed."""

import json
import threading
import time
import unittest

import packages
from packages import lines
from weirtest import LONG, Awake, wait_for

EDGE, CLOUD = "http://127.0.0.1:8201", "http://127.0.0.1:8101"
SERVICES = ("weir-edged", "weir-cloudd")
SHORT = "[Service]\nWatchdogSec=3s\nTimeoutAbortSec=2s\n"  # of the watchdog: instead of a minute
CONFIG = "/etc/weir/topology.yaml"


class OneMachine(unittest.TestCase):
    """What the packages begin with: a cloud and an edge. Its tests share the machine, in this order."""
    seconds = 90

    @classmethod
    def setUpClass(cls):
        debs = packages.find()
        cls.m = packages.Host("one", debs)
        cls.addClassCleanup(cls.m.close)
        cls.m.apt("install", *SERVICES)
        cls.sent = {}

    def send(self, key, count):
        """Lines that the edge has answered, so that they are durable; each group once."""
        self.assertNotIn(key, self.sent)
        self.m.write(EDGE, lines(key, count))
        self.sent[key] = count

    def check_exact(self):
        self.m.wait_counts(self.sent, CLOUD, "temperature", "sensor")

    def wait_up(self):
        for s in SERVICES:
            self.m.wait_active(s)

    def test_what_apt_has_installed_runs_and_says_that_it_is_ready(self):
        for s in SERVICES:
            seen = self.m.show(s, "Type", "ActiveState", "SubState", "NRestarts", "StatusText", "UnitFileState", "WatchdogUSec", "Result")
            self.assertEqual((seen["Type"], seen["ActiveState"], seen["SubState"], seen["NRestarts"]), ("notify", "active", "running", "0"))
            self.assertEqual((seen["UnitFileState"], seen["WatchdogUSec"]), ("enabled", "1min"))
            wait_for(f"a status of {s}", lambda s=s: self.m.value(s, "StatusText"))
        self.m.run("weirctl", "healthy", "--node", "local-edge", CONFIG)
        self.m.run("weirctl", "healthy", "--node", "local-cloud", CONFIG)
        wait_for("the cloud to be ready", lambda: self.m.curl(CLOUD + "/readyz")[0] == 200)

    def test_users_and_modes_of_files(self):
        for s in SERVICES:
            name, _, uid, _, _, _, shell = self.m.out("getent", "passwd", s).split(":")
            self.assertEqual((name, shell), (s, "/usr/sbin/nologin"))
            self.assertTrue(0 < int(uid) < 1000, uid)
            self.assertEqual(self.m.out("stat", "-c", "%U:%G %a", "/var/lib/" + s), f"{s}:{s} 700")
            self.assertEqual(self.m.sh(f"find /var/lib/{s} ! -user {s} -o -perm /077"), "")
        self.assertEqual(self.m.out("stat", "-c", "%U:%G %a", "/etc/weir", CONFIG), "root:root 755\nroot:root 644")

    def test_readings_are_carried_and_answered_exactly(self):
        self.send("http", 1000)
        self.m.run("bash", "-euc", "cat >/dev/tcp/127.0.0.1/7201", input=lines("tcp", 500).replace("\n", "000000000\n"))
        self.sent["tcp"] = 500
        self.check_exact()
        rows = json.loads(self.m.out("weirctl", "query", "temperature", "--select", "count,min,max", "--window", "1h", "-o", "json"))
        rows = rows["rows"] if isinstance(rows, dict) else rows
        self.assertEqual(sorted((r["group"]["sensor"], r["group"]["site"]) for r in rows), [("http", "here"), ("tcp", "here")])
        for r in rows:
            self.assertEqual((r["values"]["count"], r["values"]["min"], r["values"]["max"]), (self.sent[r["group"]["sensor"]], 20, 69))

    def test_the_sandbox_is_on(self):
        for s in SERVICES:
            pid = self.m.pid(s)
            status = self.m.status(pid)
            uid = self.m.out("id", "-u", s)
            self.assertEqual(status["Uid"].split(), [uid] * 4)
            self.assertEqual((status["Seccomp"], status["NoNewPrivs"]), ("2", "1"))
            for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                self.assertEqual(int(status[key], 16), 0, key)
            # In its view of the files even root cannot write but where its state is; and sees neither homes nor others' processes.
            other = SERVICES[1 - SERVICES.index(s)]
            script = f"""for d in / /etc /etc/weir /usr /var/lib /var/lib/{other} /opt /boot; do ! touch $d/x 2>/dev/null || echo $d; done
                touch /var/lib/{s}/x && rm /var/lib/{s}/x || echo state; [ ! -e /dev/sda ] && [ ! -e /dev/kmsg ] || echo devices
                ls -A /home /root 2>/dev/null | grep -v : || true"""
            self.assertEqual(self.m.out("nsenter", "--target", str(pid), "--mount", "sh", "-c", script), "", s)

    def test_memory_and_tasks_are_limited(self):
        for s in SERVICES:
            seen = self.m.show(s, "MemoryMax", "TasksMax", "ControlGroup", "LimitNOFILE", "OOMScoreAdjust")
            self.assertTrue(seen["MemoryMax"].isdigit() and seen["TasksMax"].isdigit(), seen)  # else: infinity
            at = seen["ControlGroup"]
            # As the kernel has it: one hierarchy, or one for each controller.
            limits = self.m.sh(f"cd /sys/fs/cgroup; cat ./{at}/memory.max memory/{at}/memory.limit_in_bytes ./{at}/pids.max pids/{at}/pids.max "
                               "2>/dev/null || true").split()
            self.assertEqual(limits[1], seen["TasksMax"])
            self.assertLessEqual(abs(int(limits[0]) - int(seen["MemoryMax"])), 4096)

    def test_one_that_is_killed_is_started_again_and_nothing_is_lost(self):
        for s in SERVICES:
            before, pid = self.m.restarts(s), self.m.pid(s)
            self.send(f"before-{s}", 200)
            self.m.signal(s, "KILL")
            wait_for(f"{s} to be started again", lambda s=s, n=before: self.m.restarts(s) == n + 1)
            self.m.wait_active(s)
            self.assertNotEqual(self.m.pid(s), pid)
            self.send(f"after-{s}", 200)
        self.check_exact()

    def test_one_that_hangs_is_ended_by_the_watchdog(self):
        for s in SERVICES:
            self.m.put(f"/etc/systemd/system/{s}.service.d/short.conf", SHORT)
        self.m.systemctl("daemon-reload")
        self.m.systemctl("restart", *SERVICES)
        with Awake() as clock:
            began, awake = time.monotonic(), clock.now()
            self.send("before-hanging", 100)
            pids = {s: self.m.pid(s) for s in SERVICES}
            before = {s: self.m.restarts(s) for s in SERVICES}
            for s in SERVICES:
                self.m.signal(s, "STOP")
            for s in SERVICES:
                wait_for(f"{s} to be started again", lambda s=s: self.m.restarts(s) > before[s])
                self.m.wait_active(s)
                self.assertNotEqual(self.m.pid(s), pids[s])
                self.assertIn("Watchdog timeout", "".join(str(r.get("MESSAGE")) for r in self.m.journal(s)))
            self.send("after-hanging", 100)
            self.check_exact()
            # One that does not hang is left alone: each has been fed several times by now. A machine that stood still hangs for all.
            if time.monotonic() - began - (clock.now() - awake) < 1:
                for s in SERVICES:
                    self.assertEqual((before[s], self.m.restarts(s)), (0, 1))
        for s in SERVICES:
            self.m.run("rm", "-r", f"/etc/systemd/system/{s}.service.d")
        self.m.systemctl("daemon-reload")
        self.m.systemctl("restart", *SERVICES)

    def test_a_reload_takes_a_changed_topology_without_a_restart(self):
        pids = {s: self.m.pid(s) for s in SERVICES}
        self.m.put("/usr/local/bin/probe", PROBE, "0755")
        text = self.m.read(CONFIG)
        text = text.replace("    sources:\n", "    sources:\n      - {name: probe, type: exec, command: [/usr/local/bin/probe]}\n", 1)
        text += ("  - name: pressure\n    from: {measurement: boiler, field: pressure}\n    by: [sensor]\n    window: 1m\n"
                 "    compute: [count]\n    retain: 30d\n")
        self.m.put(CONFIG, text)
        self.m.run("weirctl", "check", CONFIG)
        for s in reversed(SERVICES):
            self.m.systemctl("reload", s)
            self.m.wait_active(s)
        self.m.write(EDGE, lines("http", 300).replace("temperature", "pressure"))
        # Readings that came before the edge had the new stream are nobody's.
        def known():
            return self.m.counts(CLOUD, "pressure", "sensor")
        if not known():
            wait_for("the edge to have the stream", lambda: self.m.write(EDGE, lines("later", 300).replace("temperature", "pressure")) or
                     known())
        self.assertEqual({s: self.m.pid(s) for s in SERVICES}, pids)
        for s in SERVICES:
            self.assertEqual(self.m.restarts(s), 0)

    def test_a_program_of_the_edge_is_in_the_sandbox_and_knows_nothing_of_the_service_manager(self):
        told = wait_for("the probe", lambda: self.m.read("/var/lib/weir-edged/local-edge/probe"))
        env = [line for line in told.splitlines() if "=" in line]
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY"):
            self.assertEqual([e for e in env if e.startswith(name)], [])
        self.assertEqual([line for line in told.splitlines() if line.startswith("could ")], [])
        self.assertIn("NoNewPrivs: 1", told)
        # It has its time to end in when the service does, and none is left behind. (With control groups of version 1 systemd waits for
        # the whole group only where it is not in a container: unit_kill_context() of its src/core/unit.c.)
        self.m.systemctl("stop", "weir-edged")
        if self.m.engine.info.get("CgroupVersion") == "2":
            self.assertEqual(self.m.read("/var/lib/weir-edged/local-edge/ended"), "in order\n")
        self.assertEqual(self.m.run("pgrep", "-f", "/usr/local/bin/probe", check=False).stdout, "")
        self.m.systemctl("start", "weir-edged")

    def test_the_journal_has_the_priority_of_each_line(self):
        self.m.write(EDGE, lines("ok", 1).replace("temperature", "pressure"))
        for s in SERVICES:
            info = self.m.journal(s, PRIORITY=6, _COMM=s.removeprefix("weir-"))
            self.assertTrue(any("level=info" in str(r["MESSAGE"]) for r in info), info[:3])
            for r in self.m.journal(s, _COMM=s.removeprefix("weir-")):
                word = str(r["MESSAGE"]).split("level=", 1)[-1].split()[0]
                if word in ("info", "warn", "error"):
                    self.assertEqual(r["PRIORITY"], {"info": "6", "warn": "4", "error": "3"}[word], r["MESSAGE"])

    def test_repeated_failures_wait_longer_each_time_and_a_repair_needs_nobody(self):
        self.m.systemctl("restart", "weir-edged")
        good = self.m.read(CONFIG)
        self.m.put(CONFIG, good + "nonsense: [\n")
        killed = self.m.pid("weir-edged")
        self.m.signal("weir-edged", "KILL")
        wait_for("three tries", lambda: self.m.restarts("weir-edged") >= 3)
        self.m.put(CONFIG, good)
        self.m.wait_active("weir-edged")
        said = {}  # {process: [s of its first line, and of its last]}, in order: of each try
        for r in self.m.journal("weir-edged", _COMM="edged"):
            at = int(r["__MONOTONIC_TIMESTAMP"]) / 1e6
            said.setdefault(int(r["_PID"]), [at, at])[1] = at
        tries = list(said.values())[list(said).index(killed) + 1:]
        self.assertEqual(len(tries), self.m.restarts("weir-edged"))
        # RestartSec, and 2 s, 4 s ... after the first: from the last line of one, which ends with it, to the first of the next.
        for i, ((_, before), (after, _)) in enumerate(zip(tries, tries[1:])):
            self.assertGreaterEqual(after - before, 1 + 2 ** (i + 1) - 0.5, tries)
        # `systemctl status` shows no line of the try before: the one that waits says where to read.
        waits = [r["MESSAGE"] for r in self.m.journal("weir-edged") if "in a row" in str(r["MESSAGE"])]
        self.assertTrue(waits and all("journalctl -n 50 -u weir-edged.service " in w for w in waits), waits)
        # The cloud was not touched.
        self.assertEqual(self.m.restarts("weir-cloudd"), 0)
        self.m.systemctl("restart", "weir-edged")

    def test_a_reboot_and_a_power_cut_keep_the_spool_and_the_state(self):
        for what, again in (("reboot", self.m.reboot), ("power", self.m.cut_power)):
            self.check_exact()
            self.m.systemctl("stop", "weir-cloudd")
            self.send(f"unsent-{what}", 300)
            again()
            self.wait_up()
            self.send(f"after-{what}", 100)
            self.check_exact()

    def test_an_upgrade_restarts_both_and_keeps_what_the_operator_has_edited(self):
        self.send("before-upgrade", 100)
        edited = {path: self.m.read(path) + "# ours\n" for path in (CONFIG, "/etc/default/weir-edged", "/etc/default/weir-cloudd")}
        for path, text in edited.items():
            self.m.put(path, text)
        pids = {s: self.m.pid(s) for s in SERVICES}
        debs = packages.find(packages.NEXT)
        self.m.offer(debs)
        said = self.m.apt("upgrade")
        self.assertNotIn("onfiguration file", said)  # no question about one, which would wait for an answer
        for s in SERVICES:
            self.m.wait_active(s)
            self.assertNotEqual(self.m.pid(s), pids[s])
            self.assertIn(packages.field(debs[s], "Version"), self.m.out(f"/proc/{self.m.pid(s)}/exe", "--version"))
        self.assertEqual({path: self.m.read(path) for path in edited}, edited)
        self.send("after-upgrade", 100)
        self.check_exact()

    def test_removing_keeps_what_was_measured_and_purging_does_not(self):
        self.m.apt("remove", *SERVICES)
        for s in SERVICES:
            self.assertEqual(self.m.value(s, "ActiveState"), "inactive")
            self.assertEqual(self.m.run("pgrep", "-x", s.removeprefix("weir-"), check=False).stdout, "")
            self.m.run("test", "-d", "/var/lib/" + s)
        self.m.apt("install", *SERVICES)
        self.wait_up()
        self.check_exact()
        self.m.apt("purge", *SERVICES, "weirctl")
        left = self.m.sh("ls -d /etc/weir /var/lib/weir-* /run/weir-* /etc/default/weir-* /usr/sbin/edged /usr/sbin/cloudd /usr/bin/weirctl "
                         "/usr/libexec/weir /lib/systemd/system/weir-* /etc/systemd/system/*/weir-* 2>/dev/null || true")
        self.assertEqual(left, "")
        self.assertEqual(self.m.sh("dpkg -l 'weir*' 2>/dev/null | grep ^[a-z] | grep -v ^un || true"), "")
        self.m.apt("install", *SERVICES)
        self.wait_up()
        self.sent.clear()
        self.send("afresh", 100)
        self.check_exact()


# What a program that the edge runs sees and may; it goes on until it is ended.
PROBE = """#!/bin/sh
{
	env
	for d in / /etc /usr /var/lib /var/lib/weir-cloudd /home /root /opt; do
		! touch $d/probe.x 2>/dev/null || echo "could write $d"
	done
	! unshare --user true 2>/dev/null || echo "could make a namespace"
	! test -e /proc/1/status || echo "could see processes of others"
	! test -e /dev/kmsg || echo "could see devices"
	grep NoNewPrivs /proc/self/status | tr '\\t' ' '
} >probe.new
mv probe.new probe
trap 'sleep 0.3; echo in order >ended; exit 0' TERM
while :; do sleep 1; done
"""


CLOUDS, EDGES = ("cloud-a", "cloud-b", "cloud-c"), ("edge-a", "edge-b")
HTTP = {name: f"https://127.0.0.1:{8101 + i}" for i, name in enumerate(CLOUDS + EDGES)}
KEYS = "/etc/weir/keys"


def topology():
    text = f"version: 1\ncluster: {{name: fleet, shards: 4, replicas: 3, security: {{keys: {KEYS}}}}}\ncloud:\n"
    for i, name in enumerate(CLOUDS):
        text += f'  - {{name: {name}, listen: "tcp://127.0.0.1:{7101 + i}", http: "{HTTP[name][8:]}"}}\n'
    text += "edges:\n"
    for name in EDGES:
        text += f'  - {{name: {name}, http: "{HTTP[name][8:]}", tick: 100ms, flush: 500ms, idle_after: 1s}}\n'
    return text + """streams:
  - {name: temperature, from: {measurement: boiler, field: temperature}, by: [sensor], window: 1m, lateness: 10s, compute: [count], retain: 30d}
"""


class Writer(threading.Thread):
    """Writes to an edge, each time lines of a group of its own, until stop(). Those that were answered count once, others once or not at all."""

    def __init__(self, m, edge, options):
        super().__init__(daemon=True)
        self.m, self.edge, self.options = m, edge, options
        self.answered, self.unanswered = {}, {}
        self.ended = threading.Event()
        self.why = None

    def run(self):
        i = 0
        while not self.ended.is_set():
            i += 1
            key, n = f"{self.edge}-{i}", 1 + i % 40
            try:
                self.m.write(HTTP[self.edge], lines(key, n), *self.options)
                self.answered[key] = n
            except (OSError, AssertionError) as e:  # an answer other than 204 promises nothing either
                self.unanswered[key] = n
                self.why = e
                time.sleep(0.1)

    def wait_more(self, count):
        least = len(self.answered) + count
        wait_for(f"{count} further writes to {self.edge}", lambda: len(self.answered) >= least)

    def stop(self):
        self.ended.set()
        self.join()


class Fleet:
    """What tests of instances share: three clouds and two edges on one machine, by weir-cloudd@NAME and weir-edged@NAME, with keys from
    /etc/credstore; none is started yet."""
    UNITS = {**{name: f"weir-cloudd@{name}" for name in CLOUDS}, **{name: f"weir-edged@{name}" for name in EDGES}}

    @classmethod
    def setUpClass(cls):
        cls.debs = packages.find()
        cls.m = packages.Host("fleet", cls.debs)
        cls.addClassCleanup(cls.m.close)
        cls.sent = {}
        cls.options = ["--cacert", KEYS + "/ca.crt", "-H", "@/root/header"]
        cls.m.apt("install", "weir-edged", "weir-cloudd")
        cls.m.systemctl("disable", "--now", "weir-edged", "weir-cloudd")
        cls.m.put(CONFIG, topology())
        # Public parts are for all to read; the secret ones are the service manager's, which gives each daemon its own.
        cls.m.sh(f"""weirctl keygen --config {CONFIG}
            weirctl token add test --role admin --out /root/token --config {CONFIG}
            (umask 077; echo "Authorization: Bearer $(cat /root/token)" >/root/header; mkdir -p /etc/credstore /root/ca)
            cd {KEYS}; mv ca.key /root/ca/; mv tokens /etc/credstore/weir.tokens
            for n in {' '.join(CLOUDS + EDGES)}; do
                mv $n.key /etc/credstore/weir.$n.key; mv $n.tls.key /etc/credstore/weir.$n.tls.key; mv $n.tls.crt /etc/credstore/weir.$n.tls.crt
            done
            chmod 755 {KEYS}; chmod 644 {KEYS}/*""")

    def send(self, edge, key, count):
        self.assertNotIn(key, self.sent)
        self.m.write(HTTP[edge], lines(key, count), *self.options)
        self.sent[key] = count

    def check_exact(self):
        for cloud in CLOUDS:
            self.m.wait_counts(self.sent, HTTP[cloud], "temperature", "sensor", *self.options)

    def start_all(self):
        """Those that run stay as they are."""
        self.m.systemctl("enable", "--now", *self.UNITS.values())

    def wait_up(self):
        for unit in self.UNITS.values():
            self.m.wait_active(unit)

    def check_writers(self, writers):
        """All that was answered counts once; what was not, once or not at all."""
        for w in writers:
            self.sent.update(w.answered)
        maybe = {k: n for w in writers for k, n in w.unanswered.items()}
        print(f"{sum(len(w.answered) for w in writers)} writes answered, {len(maybe)} not")

        def exact():
            got = self.m.counts(HTTP[CLOUDS[0]], "temperature", "sensor", *self.options)
            bad = {k: n for k, n in got.items() if n > {**maybe, **self.sent}.get(k, 0)}
            assert not bad, f"counted more than was sent: {bad}"
            return all(got.get(k) == n for k, n in self.sent.items()) and all(got.get(k, 0) in (0, n) for k, n in maybe.items())
        wait_for("all that was answered, once", exact)
        got = self.m.counts(HTTP[CLOUDS[0]], "temperature", "sensor", *self.options)
        self.sent.update({k: n for k, n in got.items() if k in maybe})
        self.check_exact()


class Instances(Fleet, unittest.TestCase):
    seconds = 100

    def test_edges_are_ready_and_measure_before_there_is_any_cloud(self):
        for name in EDGES:
            self.m.systemctl("enable", "--now", self.UNITS[name])
            self.assertTrue(self.m.is_active(self.UNITS[name]))
            self.send(name, f"early-{name}", 500)
        for i, name in enumerate(CLOUDS):
            # The first is ready for the service manager while it has nobody to agree with.
            self.m.systemctl("enable", "--now", self.UNITS[name])
            self.assertTrue(self.m.is_active(self.UNITS[name]))
        self.check_exact()
        for unit in self.UNITS.values():
            self.assertEqual(self.m.restarts(unit), 0)

    def test_each_has_its_own_secrets_and_no_other(self):
        self.start_all()
        for name, unit in self.UNITS.items():
            there = self.m.sh(f"ls /run/credentials/{unit}.service")
            self.assertEqual(sorted(there.split()), ["tokens", "weir.key", "weir.tls.crt", "weir.tls.key"])
            self.m.run("cmp", f"/run/credentials/{unit}.service/weir.key", f"/etc/credstore/weir.{name}.key")
            user = unit.split("@")[0]
            for path in ("/etc/credstore", f"/run/credentials/{self.UNITS[(EDGES if name in CLOUDS else CLOUDS)[0]]}.service"):
                self.assertNotEqual(self.m.run("ls", path, user=user, check=False).returncode, 0, path)
        self.assertEqual(self.m.sh(f"ls {KEYS} | grep -v -e pub -e ca.crt || true"), "")

    def test_an_upgrade_under_load_restarts_all_and_loses_nothing(self):
        debs = packages.find(packages.NEXT)
        self.start_all()
        writers = [Writer(self.m, edge, self.options) for edge in EDGES]
        for w in writers:
            w.start()
        try:
            for w in writers:
                w.wait_more(10)
            before = {unit: self.m.pid(unit) for unit in self.UNITS.values()}
            version = packages.field(debs["weirctl"], "Version")
            self.m.offer(debs)
            self.m.apt("upgrade")
            for name in packages.NAMES:
                self.assertEqual(self.m.out("dpkg-query", "-W", "-f", "${Version} ${Status}", name), f"{version} install ok installed")
            self.wait_up()
            for w in writers:
                w.wait_more(10)
        finally:
            for w in writers:
                w.stop()
        for unit, pid in before.items():
            # Restarted: what runs is the file that is there now.
            self.assertNotEqual(self.m.pid(unit), pid, unit)
            self.assertEqual(self.m.restarts(unit), 0)
            self.assertIn(version, self.m.out(f"/proc/{self.m.pid(unit)}/exe", "--version"))
        for s in SERVICES:  # those that were disabled stay so
            self.assertEqual(self.m.show(s, "ActiveState", "UnitFileState"), {"ActiveState": "inactive", "UnitFileState": "disabled"})
        self.check_writers(writers)

    def test_an_upgrade_of_edges_keeps_what_no_cloud_has_yet(self):
        """Under load clouds have nearly all at once; here there is none. Installing anew runs what an upgrade runs."""
        self.start_all()
        self.m.systemctl("stop", *[self.UNITS[name] for name in CLOUDS])
        for name in EDGES:
            self.send(name, f"unsent-{name}", 300)
        before = {name: self.m.pid(self.UNITS[name]) for name in EDGES}
        self.m.apt("install", "--reinstall", "weir-edged")
        for name in EDGES:
            self.m.wait_active(self.UNITS[name])
            self.assertNotEqual(self.m.pid(self.UNITS[name]), before[name])
        self.m.systemctl("start", *[self.UNITS[name] for name in CLOUDS])
        self.wait_up()
        self.check_exact()

    def test_a_reboot_starts_all_instances(self):
        self.start_all()
        self.send("edge-a", "before-reboot", 300)
        self.m.cut_power()
        self.wait_up()
        self.send("edge-b", "after-reboot", 300)
        self.check_exact()

    def test_a_restart_of_the_target_restarts_what_runs_and_nothing_else(self):
        self.start_all()
        self.m.systemctl("disable", "--now", self.UNITS["edge-b"])
        before = self.m.pid(self.UNITS["edge-a"])
        self.m.systemctl("restart", "weir-edged.target")
        self.m.wait_active(self.UNITS["edge-a"])
        self.assertNotEqual(self.m.pid(self.UNITS["edge-a"]), before)
        self.assertEqual(self.m.value(self.UNITS["edge-b"], "ActiveState"), "inactive")

    def test_purging_leaves_no_instance(self):
        # A disk of its own for one's data, as the operator's guide says: it is emptied, and no reason for dpkg to stop half-way.
        self.m.sh("mkdir /var/lib/weir-cloudd/disk; mount -t tmpfs none /var/lib/weir-cloudd/disk; touch /var/lib/weir-cloudd/disk/data")
        self.m.apt("purge", *packages.NAMES)
        self.assertEqual(self.m.sh("find /var/lib/weir-cloudd/disk"), "/var/lib/weir-cloudd/disk")
        self.m.sh("umount /var/lib/weir-cloudd/disk; rmdir /var/lib/weir-cloudd/disk /var/lib/weir-cloudd")
        # They have ended, in order, before what they run from went.
        self.assertEqual(self.m.systemctl("list-units", "--all", "--no-legend", "--plain", "--failed", "weir-*"), "")
        self.assertEqual(self.m.sh("ls -d /var/lib/weir-* /run/weir-* /etc/systemd/system/*/weir-* 2>/dev/null || true"), "")
        self.assertEqual(self.m.sh("pgrep -x 'edged|cloudd' || true"), "")
        # Keys are the operator's.
        self.m.run("test", "-f", "/etc/credstore/weir.edge-a.key")


@unittest.skipUnless(LONG, "one of the long ones: ./dev test-containers --long")
class LongRounds(Fleet, unittest.TestCase):
    seconds = 600

    def test_twenty_rounds_of_kills_and_hangs_under_load(self):
        self.m.put("/etc/systemd/system/weir-edged@.service.d/short.conf", SHORT)
        self.m.put("/etc/systemd/system/weir-cloudd@.service.d/short.conf", SHORT)
        self.m.systemctl("daemon-reload")
        self.start_all()
        writers = [Writer(self.m, edge, self.options) for edge in EDGES]
        for w in writers:
            w.start()
        try:
            for n in range(20):
                unit = list(self.UNITS.values())[n % len(self.UNITS)]
                before = self.m.restarts(unit)
                self.m.signal(unit, "STOP" if n % 3 == 2 else "KILL")
                wait_for(f"{unit} to be started again", lambda u=unit, b=before: self.m.restarts(u) > b)
                self.m.wait_active(unit)
                for w in writers:
                    w.wait_more(3)
        finally:
            for w in writers:
                w.stop()
        self.check_writers(writers)


@unittest.skipUnless(LONG, "one of the long ones: ./dev test-containers --long")
class LongWatchdog(unittest.TestCase):
    seconds = 150

    def test_the_watchdog_as_it_is_shipped(self):
        with packages.Host("watchdog", packages.find()) as m:
            m.apt("install", *SERVICES)
            pids = {s: m.pid(s) for s in SERVICES}
            for s in SERVICES:
                m.signal(s, "STOP")
            for s in SERVICES:
                wait_for(f"{s} to be started again", lambda s=s: m.restarts(s) == 1, 150)
                m.wait_active(s)
                self.assertNotEqual(m.pid(s), pids[s])
