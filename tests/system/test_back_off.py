"""deploy/systemd/back-off: how long a daemon waits before it is started again, with a clock and a sleep that are the test's."""

import os
import signal
import subprocess
import tempfile
import unittest

from weirtest import wait_for

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy", "systemd", "back-off")
CALM_S = 600
UNIT = "weir-edged@gate-1.service"


class BackOff(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="weir-test-")
        self.addCleanup(folder.cleanup)
        self.run_folder = os.path.join(folder.name, "run")
        self.count = os.path.join(self.run_folder, "starts")
        self.slept = os.path.join(folder.name, "slept")
        programs = os.path.join(folder.name, "bin")
        for made in (self.run_folder, programs):
            os.mkdir(made)
        with open(os.path.join(programs, "sleep"), "w", encoding="ascii") as f:
            f.write(f'#!/bin/sh\necho "$1" >>{self.slept}\n')
        os.chmod(f.name, 0o755)
        self.path = programs + ":" + os.environ["PATH"]
        self.now = 5000

    def call(self, *args, **environment):
        env = dict(os.environ, PATH=self.path, BACK_OFF_NOW=str(self.now), **environment)
        r = subprocess.run([SCRIPT, self.run_folder, *(args or [UNIT])], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        self.assertEqual(0, r.returncode, r.stdout)
        return r.stdout

    def start(self, ran_s=0):
        """One start; how long it waited. The daemon then runs that long."""
        if os.path.exists(self.slept):
            os.remove(self.slept)
        self.call()
        waited = 0
        if os.path.exists(self.slept):
            with open(self.slept, encoding="ascii") as f:
                waited = int(f.read())
        self.now += waited + ran_s
        return waited

    @staticmethod
    def sleeps(pid):
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            for child in f.read().split():
                with open(f"/proc/{child}/comm", encoding="ascii") as comm:
                    if comm.read().strip() == "sleep":
                        return True
        return False

    def put(self, text):
        with open(self.count, "w", encoding="latin-1") as f:
            f.write(text)

    def test_waits_grow_and_end_at_a_minute(self):
        self.assertEqual([0, 1, 2, 4, 8, 16, 32, 60, 60, 60], [self.start(ran_s=3) for _ in range(10)])

    def test_what_ran_for_long_begins_anew(self):
        self.assertEqual([0, 1, 2], [self.start() for _ in range(3)])
        self.now += CALM_S - 1
        self.assertEqual(4, self.start(ran_s=CALM_S))
        self.assertEqual([0, 1], [self.start() for _ in range(2)])

    def test_whoever_looks_meanwhile_is_told_why_it_waits_and_where_to_read(self):
        self.assertEqual("", self.call())
        for n, wait in ((1, 1), (2, 2), (3, 4)):
            said = self.call()
            self.assertIn(f"by itself, {n} in a row", said)
            self.assertIn(f"in {wait} s", said)
            self.assertIn(f"journalctl -n 50 -u {UNIT} ", said)
            self.now += wait

    def test_only_an_end_that_was_wanted_is_forgotten(self):
        self.assertEqual([0, 1], [self.start() for _ in range(2)])
        for result in ("exit-code", "watchdog", "signal", "timeout"):
            self.call("stopped", SERVICE_RESULT=result)
        self.assertEqual(2, self.start())
        self.call("stopped", SERVICE_RESULT="success")
        self.assertEqual(0, self.start())

    def test_whoever_stops_it_while_it_waits_is_not_made_to_wait(self):
        self.put(f"6 {self.now}\n")
        env = dict(os.environ, BACK_OFF_NOW=str(self.now))
        with subprocess.Popen([SCRIPT, self.run_folder, UNIT], env=env, start_new_session=True) as p:
            try:
                wait_for("a sleep", lambda: self.sleeps(p.pid))
                p.terminate()
                self.assertEqual(0, p.wait(timeout=60))
            finally:
                os.killpg(p.pid, signal.SIGKILL)  # its sleep, which the control group's end would take along
        self.assertFalse(os.path.exists(self.count))

    def test_counts_that_make_no_sense_are_none(self):
        for text in ("", "x y\n", "-3 5000\n", "3\n", "3 99999\n", "1234567890123 5000\n", "3 5000 7\n", "3;id 1\n", "\xff\xfe\n"):
            self.put(text)
            self.assertEqual(0, self.start(), text)

    def test_no_folder_is_no_reason_not_to_start(self):
        os.rmdir(self.run_folder)
        self.assertEqual([0, 0], [self.start() for _ in range(2)])

    def test_the_clock_is_the_time_since_boot(self):
        env = {k: v for k, v in os.environ.items() if k != "BACK_OFF_NOW"}
        subprocess.run([SCRIPT, self.run_folder, UNIT], env=env, check=True, timeout=60)
        with open("/proc/uptime", encoding="ascii") as f:
            uptime = float(f.read().split()[0])
        with open(self.count, encoding="ascii") as f:
            starts, began = (int(n) for n in f.read().split())
        self.assertEqual(1, starts)
        self.assertTrue(0 <= uptime - began < 60, (uptime, began))
