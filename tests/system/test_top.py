"""`weirctl top` against a real cluster, in a pseudo-terminal: it shows what the API says, fits the screen, takes keys, survives a node's
restart, and leaves the terminal as it was."""

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import unittest

from weirtest import WEIRCTL, Cluster, wait_for

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A pseudo-terminal with a program in it; screen(): what the last whole drawing shows, a list of lines."""

    def __init__(self, command, lines, columns, **env):
        self.master, self.slave = pty.openpty()
        self.resize(lines, columns)
        self.before = termios.tcgetattr(self.slave)
        self.text, self.decoder = "", codecs.getincrementaldecoder("utf-8")()  # what is read may end within a character
        self.process = subprocess.Popen(command, stdin=self.slave, stdout=self.slave, stderr=self.slave, preexec_fn=self.control,
                                        env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", **env})

    def control(self):
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, lines, columns):
        self.lines = lines
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self):
        while select.select([self.master], [], [], 0.02)[0]:
            self.text += self.decoder.decode(os.read(self.master, 65536))
        return self.text

    def drawings(self):
        return self.read().split("\x1b[H")[1:]

    def screen(self):
        drawings = [d for d in self.drawings() if d.count("\r\n") == self.lines - 1 and d.count("\x1b[K") == self.lines]
        return [ESCAPES.sub("", line).rstrip("\r") for line in drawings[-1].split("\r\n")] if drawings else []

    def wait_shown(self, pattern):
        return wait_for(f"{pattern!r} on the screen", lambda: any(re.search(pattern, line) for line in self.screen()))

    def press(self, keys):
        os.write(self.master, keys.encode())

    def is_restored(self):
        return termios.tcgetattr(self.slave) == self.before and self.read().rstrip().endswith("\x1b[?1049l")


class Top(unittest.TestCase):
    def test_top(self):
        simulate = {"type": "simulate", "sensors": 5, "every": "100ms"}
        edges = {f"edge-{i}": {"sources": [dict(simulate)], "heartbeat": "200ms", "tick": "100ms", "flush": "300ms"} for i in (1, 2)}
        streams = [{"name": n, "from": {"measurement": "sensors", "field": "value"}, "by": ["sensor"], "window": "1s", "lateness": "1s",
                    "compute": ["count"]} for n in ("a-stream", "b-stream")]
        with Cluster(clouds=1, edges=edges, streams=streams, cluster={"replicas": 1}, security=False) as c:
            c.start()
            wait_for("results", lambda: c.total_count("cloud-1", "a-stream") > 0)

            # Not a terminal: one plain snapshot.
            def snapshot():
                out = c.ctl("top").stdout
                self.assertNotIn("\x1b", out)
                for name in ("cloud-1", "edge-1", "edge-2", "a-stream", "b-stream", "readings", "1 of 1 nodes answers"):
                    self.assertIn(name, out.lower())
                rates = [float(m) for m in re.findall(r"^edge-\d +live .*?(?:KiB|B|MiB) +([\d.]+) ", out, re.M)]
                return len(rates) == 2 and all(10 <= rate <= 150 for rate in rates)  # 50 a second, as heartbeats tell of them
            wait_for("both rates, as they are", snapshot)
            self.assertEqual(c.ctl("-o", "json", "top", check=False).returncode, 2)

            command = [WEIRCTL, "--url", c.url("cloud-1"), "top", "--every", "200ms"]
            with Terminal(command, 30, 100) as t:
                t.wait_shown(r"edge-1 .*[\u2581-\u2588]{3}")
                t.wait_shown(r"^a-stream .*\d{4}-\d\d-\d\dT")
                self.assertFalse(termios.tcgetattr(t.slave)[3] & (termios.ECHO | termios.ICANON))
                self.assertIn("\x1b[1m", t.text)
                # A small screen: everything fits, and what does not is scrolled to.
                t.resize(9, 40)
                wait_for("a small drawing", lambda: len(t.screen()) == 9 and all(len(line) <= 40 for line in t.screen()))
                self.assertFalse(any(line.startswith("b-stream") for line in t.screen()))
                t.press("\x1b[6~\x1b[6~\x1b[6~\x1b[6~")
                t.wait_shown(r"^b-stream")
                t.press("\x1b[A" * 30)
                t.wait_shown(r"^health")
                t.resize(30, 100)
                t.press("s")
                t.wait_shown("sorted by rate")
                t.press("p")
                t.wait_shown("PAUSED")
                t.press("p")
                wait_for("it goes on", lambda: t.screen() and "PAUSED" not in t.screen()[0])
                # Nobody answers: the last view stays, and says since when; then news again.
                c.clouds["cloud-1"].kill()
                t.wait_shown(r"no news since \d{4}-.*: no answer")
                t.wait_shown(r"^a-stream .*\d{4}-\d\d-\d\dT")
                c.clouds["cloud-1"].start()
                c.wait_ready()
                wait_for("news again", lambda: t.screen() and not any("no news" in line for line in t.screen()))
                # Suspended it gives the terminal back, and takes it again.
                t.process.send_signal(signal.SIGTSTP)
                wait_for("the terminal is as it was", t.is_restored)
                t.process.send_signal(signal.SIGCONT)
                t.text = ""
                t.wait_shown("sorted by rate")
                t.press("q")
                self.assertEqual(t.process.wait(30), 0)
                self.assertTrue(t.is_restored())

            for number in (signal.SIGINT, signal.SIGTERM):
                with Terminal(command + ["--ascii"], 24, 80, NO_COLOR="1") as t:
                    t.wait_shown(r"^edge-1 ")
                    self.assertNotRegex(t.text, "[\u2581-\u2588]|\x1b\\[[0-9;]*m")
                    t.process.send_signal(number)
                    self.assertEqual(t.process.wait(30), 0)
                    self.assertTrue(t.is_restored())
