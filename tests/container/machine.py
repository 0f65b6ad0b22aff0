"""A machine with systemd as its first process, in a container: services run on it as they would on a gateway or a server.

It has what Debian's systemd needs and no more: not --privileged, but the control groups, CAP_SYS_ADMIN (and CAP_SYS_PTRACE, for tests that look into a unit) and no filter of system calls
above those that units set. Its disk outlives reboot() and cut_power(), and goes with close()."""

import json
import shlex
import time

import engine
from weirtest import wait_for

IMAGE = "weir-test/systemd"
# curl: asks; procps: pgrep; apt-utils: an index of packages.
TOOLS = ["systemd", "systemd-sysv", "dbus", "curl", "procps", "apt-utils"]
UNUSED = ["systemd-udevd.service", "systemd-logind.service", "systemd-modules-load.service", "systemd-remount-fs.service",
          "getty.target", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
          "systemd-tmpfiles-clean.timer"]
BOOT_DEADLINE_S = 180
JOURNAL_LINES_MAX = 60


class CommandFailed(OSError):
    """A command in the machine ended with an error. What waits for something tries again."""


INSTALL = """apt-get update -q \\
 && printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d \\
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends {} \\
 && rm -rf /usr/sbin/policy-rc.d /var/lib/apt/lists/* /etc/machine-id && touch /etc/machine-id"""


def image(eng):
    """The image of such a machine."""
    text = f"""FROM {eng.base()}
RUN {INSTALL.format(' '.join(TOOLS))}
RUN mkdir -p /etc/systemd/system /var/log/journal \\
 && for u in {' '.join(UNUSED)}; do ln -sf /dev/null /etc/systemd/system/$u; done
STOPSIGNAL SIGRTMIN+3
CMD ["sh", "-c", "mount --make-rshared / && exec /lib/systemd/systemd"]
"""  # shared: on a machine systemd does that itself; without it, credentials never reach a unit
    with engine.locked("systemd"):
        eng.build(IMAGE, None, text)
    return IMAGE


def image_with(eng, packages, tag):
    """The same with those packages of Debian beside. Their services are not started at install: a test starts its own."""
    text = f"FROM {image(eng)}\nRUN {INSTALL.format(' '.join(sorted(packages)))}\n"
    with engine.locked("systemd"):
        eng.build(tag, None, text)
    return tag


class Machine:
    """Use it as a context manager, or close() it."""

    def __init__(self, eng, image_name=IMAGE, name="machine", options=()):
        self.engine = eng
        self.name = eng.name(name)
        eng.docker("run", "-d", "--name", self.name, "--hostname", name, *eng.label(), "--cap-add", "SYS_ADMIN", "--cap-add", "SYS_PTRACE",
                   "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined", "--cgroupns=host",
                   "-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp",
                   "--env", "container=docker", *options, image_name)
        self.wait_booted()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            print(self.told())
        self.close()

    def close(self):
        self.engine.docker("rm", "-fv", self.name, check=False)

    # ---- commands -----------------------------------------------------------------------------------------------

    def run(self, *command, input=None, check=True, timeout=300, user=None):
        """A command in it: a CompletedProcess with texts."""
        options = (["-i"] if input is not None else []) + (["--user", user] if user else [])
        r = self.engine.docker("exec", *options, self.name, *command, input=input, check=False, timeout=timeout)
        if check and r.returncode:
            raise CommandFailed(f"{shlex.join(command)}: exit {r.returncode}\n{r.stdout[-3000:]}{r.stderr[-3000:]}")
        return r

    def out(self, *command, **kept):
        return self.run(*command, **kept).stdout.strip()

    def sh(self, script, **kept):
        """A shell script's output; it ends at the first command that fails."""
        return self.out("sh", "-euc", script, **kept)

    def put(self, path, text, mode="0644", owner="root:root"):
        self.run("sh", "-euc", 'mkdir -p "$(dirname "$1")"; cat >"$1.new"; chmod "$2" "$1.new"; chown "$3" "$1.new"; mv "$1.new" "$1"',
                 "sh", path, mode, owner, input=text)

    def read(self, path):
        return self.run("cat", path).stdout

    def copy_in(self, here, there):
        self.engine.docker("cp", here, f"{self.name}:{there}")

    # ---- power ------------------------------------------------------------------------------------------------------

    def wait_booted(self):
        def running():
            # "degraded" is up, too: the test asks for the units that it cares for.
            return self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")
        wait_for(f"{self.name} to boot", running, BOOT_DEADLINE_S)

    def reboot(self):
        """An orderly one: services are stopped."""
        self.engine.docker("restart", "--time", "60", self.name)
        self.wait_booted()

    def cut_power(self):
        """All processes at once, and then it boots."""
        self.engine.docker("kill", "--signal", "KILL", self.name)
        self.engine.docker("start", self.name)
        self.wait_booted()

    # ---- units ------------------------------------------------------------------------------------------------------

    def systemctl(self, *args, **kept):
        return self.out("systemctl", *args, **kept)

    def show(self, unit, *properties):
        """{property: text}"""
        lines = self.systemctl("show", unit, *[f"--property={p}" for p in properties]).splitlines()
        return dict(line.split("=", 1) for line in lines)

    def value(self, unit, prop):
        return self.show(unit, prop)[prop]

    def pid(self, unit):
        """Of the main process, inside the machine; 0: none."""
        return int(self.value(unit, "MainPID"))

    def restarts(self, unit):
        return int(self.value(unit, "NRestarts"))

    def is_active(self, unit):
        return self.value(unit, "ActiveState") == "active"

    def wait_active(self, unit, deadline_s=None):
        """Active: of a unit of Type=notify, that it has said READY=1."""
        try:
            wait_for(f"{unit} active", lambda: self.is_active(unit), deadline_s)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.told(unit)}") from None

    def signal(self, unit, name):
        self.systemctl("kill", f"--signal={name}", "--kill-who=main", unit)

    def status(self, pid):
        """{key: text} of /proc/PID/status in it."""
        return {k: v.strip() for k, _, v in (line.partition(":") for line in self.read(f"/proc/{pid}/status").splitlines())}

    def journal(self, unit=None, **fields):
        """The records of the journal, as dicts; fields: what must be in them."""
        match = [f"{k}={v}" for k, v in fields.items()]
        lines = self.run("journalctl", "--no-pager", "--output=json", "--all", *(["--unit", unit] if unit else []), *match,
                         check=False).stdout.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def told(self, unit=None):
        """What a person would look at after a failure."""
        chosen = ["--unit", unit] if unit else []
        parts = [f"--- {self.name}, {time.strftime('%H:%M:%S')}"]
        for command in (["systemctl", "--no-pager", "--full", "status", unit] if unit else ["systemctl", "--no-pager", "--failed"],
                        ["journalctl", "--no-pager", "-n", str(JOURNAL_LINES_MAX), *chosen]):
            r = self.run(*command, check=False)
            parts.append(r.stdout + r.stderr)
        return "\n".join(parts)
