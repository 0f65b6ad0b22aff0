"""Debian packages of Weir for tests: those that `./dev package` has built, of the tree's version and of a higher one, and the machine that they are
installed on."""

import glob
import json
import os
import re
import subprocess
import unittest

import engine
import machine
from weirtest import wait_for

FOLDER = os.environ.get("WEIR_PACKAGES", os.path.join(engine.ROOT, "build-package"))
NEXT = os.path.join(FOLDER, "next")
NAMES = ("weirctl", "weir-edged", "weir-cloudd")
IMAGE = "weir-test/systemd-weir"
T0 = 1_700_000_000  # s; of readings, so that nothing depends on when the test runs


def find(folder=FOLDER):
    """{name: path} of the three; the test is skipped where they are not built."""
    found = {}
    for name in NAMES:
        paths = sorted(glob.glob(os.path.join(folder, f"{name}_*.deb")), key=os.path.getmtime)
        if not paths:
            raise unittest.SkipTest(f"no package {name} in {folder}: ./dev test-containers builds it")
        found[name] = paths[-1]
    return found


def field(path, name):
    return subprocess.run(["dpkg-deb", "--field", path, name], capture_output=True, text=True, check=True).stdout.strip()


def dependencies(debs):
    """The packages of Debian that these need: of alternatives the first."""
    text = ",".join(field(path, "Depends") for path in debs.values())
    names = {re.split(r"[\s(:|]", entry.strip())[0] for entry in text.split(",") if entry.strip()}
    return sorted(names - set(NAMES))


def prepare(eng):
    """What machines begin with."""
    machine.image_with(eng, dependencies(find()), IMAGE)


class Host(machine.Machine):
    """A clean machine without a network, with what the packages depend on and nothing of Weir."""

    def __init__(self, name, debs):
        eng = engine.current
        super().__init__(eng, machine.image_with(eng, dependencies(debs), IMAGE), name, ["--network", "none"])
        # Its only source of packages is a folder of its own.
        self.sh("rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*; mkdir /packages; "
                "echo 'deb [trusted=yes] file:/packages ./' >/etc/apt/sources.list")
        self.offer(debs)

    def offer(self, debs):
        """apt finds these there, too."""
        for path in debs.values():
            self.copy_in(path, "/packages/")
        self.sh("cd /packages && apt-ftparchive packages . >Packages && apt-get -q update")

    def apt(self, *args):
        return self.out("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", *args)

    # ---- readings and answers ---------------------------------------------------------------------------------------

    def curl(self, url, *options, body=None, timeout=60):
        """(status, body); an OSError where there was no answer."""
        r = self.run("curl", "-sS", "--max-time", str(timeout), "-w", "\n%{http_code}", *options,
                     *(["--data-binary", "@-"] if body is not None else []), url, input=body)
        text, _, status = r.stdout.rpartition("\n")
        return int(status), text

    def write(self, url, lines, *options):
        """Whether they were answered, which is that they are durable at the edge: 204."""
        status, text = self.curl(url + "/write?precision=s", *options, body=lines)
        if status != 204:
            raise AssertionError(f"{url}: {status} {text}")

    def counts(self, url, stream, by, *options):
        """{group: readings} of a stream, over all of its windows."""
        out, cursor = {}, ""
        while True:
            status, text = self.curl(f"{url}/api/v1/query?stream={stream}&select=count{cursor}", *options)
            if status != 200:
                raise machine.CommandFailed(f"{url}: {status} {text}")
            answer = json.loads(text)
            for row in answer["rows"]:
                key = row["group"][by]
                out[key] = out.get(key, 0) + row["values"]["count"]
            if not answer["next"]:
                return out
            cursor = "&cursor=" + answer["next"]

    def wait_counts(self, expected, url, stream, by, *options):
        """Until the answer is exactly that; more is wrong at once."""
        def exact():
            got = self.counts(url, stream, by, *options)
            more = {k: n for k, n in got.items() if n > expected.get(k, 0)}
            assert not more, f"counted more than was sent: {more} of {expected}"
            return got == expected
        wait_for(f"{sum(expected.values())} readings of {stream}", exact)


def lines(key, count, first=0):
    return "".join(f"boiler,sensor={key} temperature={20 + i % 50} {T0 + first + i}\n" for i in range(count))
