"""A cluster whose daemons have a network namespace each, so that the kernel drops what a test wants dropped: any link between
two daemons, one way or both.

A router namespace joins them (veth pairs; 10.77.N.1 is the Nth daemon, addresses that exist nowhere else) and holds the one
nftables rule. Nothing of it is in the namespace that the test runs in. Asking a daemon is done on its own loopback: a thread
enters the namespace, opens the socket there, and comes back. Names hold the test's process id and when that process began: who
starts removes what those that are dead have left, with the daemons that still run in there."""

import contextlib
import ctypes
import itertools
import os
import re
import shutil
import signal
import subprocess
import unittest

from weirtest import Cluster

CLONE_NEWNET = 0x40000000
NAMES = "/run/netns"
COMMANDS = {name: shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") for name in ("ip", "nft")}
RULES = """table ip weir {
	set cut { type ipv4_addr . ipv4_addr; }
	chain forward { type filter hook forward priority 0; ip saddr . ip daddr @cut drop; }
}"""

_libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    pass


def run(command, *args, input=None):
    r = subprocess.run([COMMANDS[command], *args], capture_output=True, text=True, input=input)
    if r.returncode:
        raise Failed(f"{command} {' '.join(args)}: {r.stderr.strip()}")
    return r.stdout


def began(pid):
    """When a process began, in ticks since the boot; None: there is none that runs."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
            return fields[19] if fields[0] not in "ZX" else None
    except OSError:
        return None


@contextlib.contextmanager
def inside(namespace):
    """This thread, and the processes and sockets that it makes meanwhile, are in there."""
    def enter(fd):
        if _libc.setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(os.path.join(NAMES, namespace), os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            enter(home)
    finally:
        os.close(home)


def remove(namespace):
    """With the processes in there: they are ones that a test started there, and did not stop."""
    for pid in run("ip", "netns", "pids", namespace).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    run("ip", "netns", "del", namespace)


def sweep():
    for name in os.listdir(NAMES) if os.path.isdir(NAMES) else []:
        owner = re.fullmatch(r"weir-(\d+)-(\d+)-.*", name)
        if owner and began(owner.group(1)) != owner.group(2):
            with contextlib.suppress(Failed):  # another test that starts now may be faster
                remove(name)


class Net:
    numbers = itertools.count(1)

    def __init__(self, names):
        self.prefix = f"weir-{os.getpid()}-{began(os.getpid())}-{next(Net.numbers)}"
        self.router = f"{self.prefix}-router"
        self.names = list(names)
        self.made_here = contextlib.ExitStack()
        try:
            self.add_router()
            for i, name in enumerate(self.names):
                self.add(name, i + 1)
        except BaseException:
            self.close()
            raise

    def address(self, name):
        return f"10.77.{self.names.index(name) + 1}.1"

    def namespace(self, name):
        return f"{self.prefix}-{name}"

    def create(self, namespace):
        run("ip", "netns", "add", namespace)
        self.made_here.callback(remove, namespace)
        run("ip", "-n", namespace, "link", "set", "lo", "up")

    def add_router(self):
        self.create(self.router)
        with inside(self.router):
            with open("/proc/sys/net/ipv4/ip_forward", "w") as f:
                f.write("1")
            run("nft", "-f", "-", input=RULES)

    def add(self, name, n):
        there = self.namespace(name)
        self.create(there)
        run("ip", "-n", self.router, "-b", "-", input=f"link add to-{n} type veth peer name eth0 netns {there}\n"
            f"addr add 10.77.{n}.254/24 dev to-{n}\nlink set to-{n} up\n")
        run("ip", "-n", there, "-b", "-", input=f"addr add 10.77.{n}.1/24 dev eth0\nlink set eth0 up\n"
            f"route add default via 10.77.{n}.254\n")

    def cut(self, *links):
        """Of all links, these (from, to) and no others carry nothing from now on."""
        rules = "flush set ip weir cut\n"
        if links:
            rules += "add element ip weir cut { " + ", ".join(
                f"{self.address(a)} . {self.address(b)}" for a, b in sorted(set(links))) + " }\n"
        with inside(self.router):
            run("nft", "-f", "-", input=rules)

    def heal(self):
        self.cut()

    def close(self):
        self.made_here.close()


def require():
    """Skips where namespaces cannot be had, and says why."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("network namespaces need root")
    for name, path in COMMANDS.items():
        if not path:
            raise unittest.SkipTest(f"network namespaces need the command {name}")
    sweep()
    try:
        Net(["probe"]).close()
    except (Failed, OSError) as e:
        raise unittest.SkipTest(f"no network namespaces, veth or nf_tables here: {e}") from None


class NetCluster(Cluster):
    """Every link has keys: addresses are not on loopback."""

    def __init__(self, edges, clouds=3, **more):
        names = [f"cloud-{i + 1}" for i in range(clouds)] + list(edges)
        self.net = Net(names)
        try:
            super().__init__(clouds=clouds, edges=edges, security=True,
                             addresses={n: self.net.address(n) for n in names[:clouds]}, **more)
        except BaseException:
            self.net.close()
            raise

    def inside(self, name):
        return inside(self.net.namespace(name))

    def __exit__(self, *why):
        try:
            super().__exit__(*why)
        finally:
            self.net.close()
