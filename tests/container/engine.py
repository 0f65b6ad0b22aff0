"""A container engine for the tests, and the images that they begin with.

An engine that answers at $DOCKER_HOST, or at the usual socket, is used. Where none does, and this is root, an own dockerd is started in
namespaces of its own for processes, mounts and network: its bridges, its packet filter, its mounts and all of its containers are in
there and nowhere else, and go with its first process, whatever ended this one. What stays is images in build-containers/, for the next
run. This process, too, joins that network, so that what containers publish is on loopback; slirp4netns leads out of it (apt in an image's
build). Process ids that such an engine tells of are those inside: no use for os.kill().

All that tests make has a label and is removed at the end: containers, networks, volumes. Images are kept: their names begin with
weir-test/."""

import contextlib
import ctypes
import fcntl
import glob
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
KEPT = os.path.join(ROOT, "build-containers")
LABEL = "weir.test"
BASE = "weir-test/base"
SUITE = "bookworm"
BASE_DAYS_MAX = 7
START_DEADLINE_S = 180
ASK_DEADLINE_S = 60
SBIN = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """No engine here; the text says why and what to do."""


class Failed(Exception):
    """A command of the engine's ended with an error."""


def program(name):
    """Debian's first: another client may be first in PATH."""
    found = f"/usr/bin/{name}"
    return found if os.access(found, os.X_OK) else shutil.which(name, path=SBIN)


def die_with_parent():
    """This process is killed when its parent ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _dies_with_me(net=None):
    """For a child before it runs its program: it is killed when this process ends; in the network namespace of that descriptor."""
    def prepare():
        die_with_parent()
        if net is not None and _libc.setns(net, CLONE_NEWNET):
            os._exit(126)
    return prepare


def _answers(env):
    try:
        r = subprocess.run([program("docker"), "info", "--format", "{{json .}}"], capture_output=True, text=True, env=env, timeout=ASK_DEADLINE_S)
        info = json.loads(r.stdout)
    except (ValueError, subprocess.TimeoutExpired):
        return None
    return info if info.get("ServerVersion") else None


class Engine:
    def __init__(self, env, info, own=None):
        self.env, self.info, self.own = env, info, own
        self.session = f"{os.getpid()}-{time.time_ns()}"
        self._names = 0

    # ---- commands ---------------------------------------------------------------------------------------------------

    def docker(self, *args, input=None, check=True, timeout=600, text=True):
        r = subprocess.run([program("docker"), *args], capture_output=True, text=text, input=input, env=self.env, timeout=timeout,
                           stdin=subprocess.DEVNULL if input is None else None)
        if check and r.returncode:
            raise Failed(f"docker {' '.join(args[:6])}: exit {r.returncode}\n{str(r.stdout)[-2000:]}{str(r.stderr)[-2000:]}")
        return r

    def compose(self, *args, cwd, env=None, check=True, timeout=600):
        """docker-compose in that folder. Give each project a name of project()."""
        r = subprocess.run([program("docker-compose"), *args], capture_output=True, text=True, cwd=cwd, env={**self.env, **(env or {})},
                           timeout=timeout, stdin=subprocess.DEVNULL)
        if check and r.returncode:
            raise Failed(f"docker-compose {' '.join(args)}: exit {r.returncode}\n{r.stdout[-3000:]}{r.stderr[-3000:]}")
        return r

    def inspect(self, name):
        return json.loads(self.docker("inspect", name).stdout)[0]

    def has_image(self, name):
        return self.docker("image", "inspect", name, check=False).returncode == 0

    # ---- what is removed at the end -----------------------------------------------------------------------------------

    def name(self, what):
        """A name that no other run has, for a container, network or volume."""
        self._names += 1
        return f"weir-test-{what}-{os.getpid()}-{self._names}"

    def project(self, what):
        """A name for a project of docker-compose; all of it is removed at the end."""
        name = self.name(what)
        os.makedirs(KEPT, exist_ok=True)
        with open(self._projects(), "a") as f:  # a file: the tests are processes of their own
            f.write(name + "\n")
        return name

    def label(self):
        """The options that mark a container, network or volume as one of this run."""
        return ["--label", f"{LABEL}={self.session}"]

    def _projects(self):
        return os.path.join(KEPT, f"projects.{self.session}")

    def _remove_labelled(self, label):
        here = ["--filter", f"label={label}"]
        for listing, removal in ((["ps", "-aq"], ["rm", "-fv"]), (["network", "ls", "-q"], ["network", "rm"]),
                                 (["volume", "ls", "-q"], ["volume", "rm", "-f"])):
            ids = self.docker(*listing, *here, check=False).stdout.split()
            if ids:
                self.docker(*removal, *ids, check=False)

    def remove_all(self):
        self._remove_labelled(f"{LABEL}={self.session}")
        with contextlib.suppress(FileNotFoundError), open(self._projects()) as f:
            for project in f.read().split():
                self._remove_labelled(f"com.docker.compose.project={project}")
            os.unlink(self._projects())

    def remove_leftovers(self):
        """All that runs of this tree that were killed have left; only in an engine of our own, as others' is not ours to clear."""
        for path in glob.glob(os.path.join(KEPT, "projects.*")):
            os.unlink(path)
        for listing, removal in ((["ps", "-aq"], ["rm", "-fv"]), (["volume", "ls", "-q"], ["volume", "rm", "-f"])):
            ids = self.docker(*listing).stdout.split()
            if ids:
                self.docker(*removal, *ids, check=False)
        self.docker("network", "prune", "-f")
        self.docker("image", "prune", "-f")

    def close(self):
        """Idempotent. Nothing of this run is there any more."""
        try:
            self.remove_all()
        finally:
            if self.own:
                self.own.close()
                self.own = None

    # ---- images -------------------------------------------------------------------------------------------------------

    def build(self, tag, folder, dockerfile=None, args=None, labels=None):
        """An image of a folder (or of the text of a Dockerfile alone: folder None), its RUN commands in the engine's own network, so
        that apt gets out."""
        options = ["--network", "host", "--tag", tag]
        for name, value in (args or {}).items():
            options += ["--build-arg", f"{name}={value}"]
        for name, value in (labels or {}).items():
            options += ["--label", f"{name}={value}"]
        if folder is None:
            return self.docker("build", *options, "-", input=dockerfile, timeout=1200)
        return self.docker("build", *options, *(["--file", dockerfile] if dockerfile else []), folder, timeout=1200)

    def base(self):
        """The name of an image of Debian 12 alone: a registry's, where one can be had, else debootstrap's. apt works in it as it does on
        this machine."""
        with locked("base"):
            if self._age_days(BASE) > BASE_DAYS_MAX and not self._pull() and not self._bootstrap():
                raise Unavailable("no image of Debian: no registry gives one, and debootstrap needs root")
        return BASE

    def _age_days(self, image):
        r = self.docker("image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}.made"}}}}', image, check=False)
        made = r.stdout.strip()
        return (time.time() - int(made)) / 86400 if made.isdigit() else float("inf")

    def _pull(self):
        try:
            if self.docker("pull", "-q", f"debian:{SUITE}-slim", check=False, timeout=120).returncode:
                return False
        except subprocess.TimeoutExpired:
            return False
        with tempfile.TemporaryDirectory(prefix="weir-test-") as folder:
            use_this_apt(folder)
            with open(os.path.join(folder, "Dockerfile"), "w") as f:
                f.write(f"FROM debian:{SUITE}-slim\n")
                if _is_this_suite() and _debian_sources():
                    f.write("RUN rm -rf /etc/apt/sources.list.d\n")
                f.write("COPY etc/apt /etc/apt\nRUN rm -f /usr/sbin/policy-rc.d\n")
            self.build(BASE, folder, labels={f"{LABEL}.made": int(time.time())})
        return True

    def _bootstrap(self):
        if os.geteuid() != 0 or not program("debootstrap"):
            return False
        os.makedirs(KEPT, exist_ok=True)
        folder = os.path.join(KEPT, "base")
        shutil.rmtree(folder, ignore_errors=True)
        try:
            self._outside(["debootstrap", "--variant=minbase", SUITE, folder, mirror()])
            use_this_apt(folder)
            tar = subprocess.Popen(["tar", "-C", folder, "--numeric-owner", "-c", "."], stdout=subprocess.PIPE)
            subprocess.run([program("docker"), "import", "--change", f"LABEL {LABEL}.made={int(time.time())}", "-", BASE], check=True,
                           stdin=tar.stdout, stdout=subprocess.DEVNULL, env=self.env)
            tar.stdout.close()
            if tar.wait():
                raise Failed("tar could not read the base")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return True

    def _outside(self, command):
        """Runs a program in the network that this process began in; its output is told only when it fails."""
        r = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, "PATH": SBIN},
                           preexec_fn=_dies_with_me(self.own.outside if self.own else None))
        if r.returncode:
            raise Failed(f"{' '.join(command)}: exit {r.returncode}\n{(r.stdout + r.stderr)[-2000:]}")


# ---- apt as it is here -----------------------------------------------------------------------------------------------

def _uris(path):
    """The addresses that a list of sources names, but for comments."""
    with open(path, errors="replace") as f:
        text = "\n".join(line for line in f if not line.lstrip().startswith("#"))
    return [word.rstrip("/") for word in text.split() if word.startswith(("http:", "https:"))]


def _debian_sources():
    """The lists of this machine that name Debian alone: others want keys that the image has not."""
    paths = glob.glob("/etc/apt/sources.list") + glob.glob("/etc/apt/sources.list.d/*")
    return [p for p in paths if _uris(p) and all(u.endswith(("/debian", "/debian-security")) for u in _uris(p))]


def mirror():
    """Where this machine has its Debian from."""
    found = [u for path in _debian_sources() for u in _uris(path) if u.endswith("/debian")]
    return found[0] if found else "http://deb.debian.org/debian"


def _is_this_suite():
    with open("/etc/os-release") as f:
        return f"VERSION_CODENAME={SUITE}" in f.read()


def use_this_apt(folder):
    """What is in that folder as in a root file system asks where this machine asks, in the same way (a proxy, a wrong clock)."""
    os.makedirs(folder + "/etc/apt/apt.conf.d", exist_ok=True)
    os.makedirs(folder + "/etc/apt/sources.list.d", exist_ok=True)
    if _is_this_suite() and _debian_sources():
        with open(folder + "/etc/apt/sources.list", "w"):
            pass
        for path in glob.glob(folder + "/etc/apt/sources.list.d/*"):
            os.unlink(path)
        for path in _debian_sources():
            shutil.copy(path, folder + path)
    r = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True)
    with open(folder + "/etc/apt/apt.conf.d/99weir-test", "w") as f:
        f.write(r.stdout)
        f.write('APT::Install-Recommends "false";\n')


# ---- an own dockerd ------------------------------------------------------------------------------------------------

# As the first process in there: children that others leave end as its own. All mounts are seen in there alone.
INSIDE = """
set -e
mkdir -p /run/docker /run/containerd
mount -t tmpfs weir /run/docker
mount -t tmpfs weir /run/containerd
[ -z "$WEIR_RESOLV" ] || mount --bind "$WEIR_RESOLV" /etc/resolv.conf
unset WEIR_RESOLV
trap 'kill -TERM $child' TERM
dockerd "$@" &
child=$!
rc=0
wait $child || rc=$?
wait $child 2>/dev/null || true
exit $rc
"""


def _last_line(path):
    with open(path, errors="replace") as f:
        lines = [line.strip() for line in f if line.strip()]
    return lines[-1] if lines else f"it said nothing ({path})"


class Dockerd:
    """A dockerd of this process's own; a child of it, and gone with it."""

    def __init__(self):
        mark = hashlib.sha256(ROOT.encode()).hexdigest()[:8]
        self.folder = os.path.join(tempfile.gettempdir(), f"weir-engine-{mark}")  # short: it is the address of a socket
        self.cgroup = f"/weir-engine-{mark}"
        self.log_path = os.path.join(KEPT, "dockerd.log")
        self.process = self.slirp = self.outside = None
        self._clear()
        os.makedirs(self.folder, mode=0o700)
        os.makedirs(KEPT, exist_ok=True)
        try:
            self._enter_network()
            self._start()
        except BaseException:
            self.close()
            raise

    def env(self):
        return {**os.environ, "DOCKER_HOST": f"unix://{self.folder}/docker.sock"}

    def _enter_network(self):
        self.outside = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        if _libc.unshare(CLONE_NEWNET):
            raise Unavailable(f"no network namespace can be made: {os.strerror(ctypes.get_errno())}")
        subprocess.run([shutil.which("ip", path=SBIN), "link", "set", "lo", "up"], check=True)
        ready, told = os.pipe()
        log_path = os.path.join(KEPT, "slirp4netns.log")
        with open(log_path, "wb") as log:
            self.slirp = subprocess.Popen(
                [shutil.which("slirp4netns", path=SBIN), "--configure", "--mtu=65520", "--disable-host-loopback", f"--ready-fd={told}", "--netns-type=path",
                 f"/proc/{os.getpid()}/ns/net", "tap0"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(told, self.outside), preexec_fn=_dies_with_me(self.outside),
                start_new_session=True)
        os.close(told)
        is_ready = os.read(ready, 1)  # nothing: it has ended
        os.close(ready)
        if not is_ready:
            raise Unavailable(f"slirp4netns, the way to apt, did not start: {_last_line(log_path)}")

    def _resolver(self):
        """A resolver on this machine's loopback is not in that network: slirp4netns has one for it."""
        with contextlib.suppress(OSError), open("/etc/resolv.conf") as f:
            servers = [line.split()[1] for line in f if line.startswith("nameserver") and len(line.split()) > 1]
            if any(not s.startswith("127.") and s != "::1" for s in servers):
                return ""
        path = os.path.join(self.folder, "resolv.conf")
        with open(path, "w") as f:
            f.write("nameserver 10.0.2.3\n")
        return path

    def _start(self):
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "sh", "-c", INSIDE,
                 "dockerd", "--data-root", os.path.join(KEPT, "docker"), "--exec-root", "/run/docker", "--pidfile", "/run/docker/pid",
                 "--host", f"unix://{self.folder}/docker.sock", "--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", self.cgroup,
                 "--storage-driver", "overlay2", "--bip", "10.78.0.1/24", "--default-address-pool", "base=10.79.0.0/16,size=24"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, preexec_fn=_dies_with_me(),
                env={**os.environ, "PATH": SBIN, "WEIR_RESOLV": self._resolver()})
        end = time.monotonic() + START_DEADLINE_S
        while not _answers(self.env()):
            if self.process.poll() is not None or time.monotonic() > end:
                raise Unavailable(f"dockerd did not start: {self._why()}")
            time.sleep(0.1)

    def _why(self):
        with open(self.log_path, errors="replace") as f:
            lines = [line.strip() for line in f if line.strip()]
        bad = [line for line in lines if "level=fatal" in line or "failed to start" in line]
        return bad[-1] if bad else _last_line(self.log_path)

    def close(self):
        """Idempotent."""
        if self.process:
            self._stop_process()
        if self.slirp:
            self.slirp.kill()
            self.slirp.wait()
        if self.outside is not None:
            _libc.setns(self.outside, CLONE_NEWNET)
            os.close(self.outside)
        self.process = self.slirp = self.outside = None
        self._clear()

    def _stop_process(self):
        """dockerd ends by itself, as what it keeps is on disk then; and then, with its first process, all that is left in there."""
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            os.kill(int(f.read().split()[0]), signal.SIGTERM)
            self.process.wait(20)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()

    def _clear(self):
        """What a run that was killed has left: the processes went with it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for place in ("/run/docker", "/run/containerd"):  # what it mounted on; never another's, who has files there
            with contextlib.suppress(OSError):
                os.rmdir(place)
        for root in glob.glob("/sys/fs/cgroup/*" + self.cgroup) + glob.glob("/sys/fs/cgroup" + self.cgroup):
            for at, _, _ in os.walk(root, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(at)


# ---- the way in --------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def locked(what):
    """One process of this tree at a time."""
    os.makedirs(KEPT, exist_ok=True)
    with open(os.path.join(KEPT, what + ".lock"), "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def find():
    """An engine, started if need be. Unavailable says why there is none. The caller closes it."""
    if not program("docker"):
        raise Unavailable("there is no docker: apt-get install docker.io docker-compose debootstrap slirp4netns (./dev test-containers does)")
    common = {"DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0", "COMPOSE_INTERACTIVE_NO_CLI": "1"}
    env = {**os.environ, **common}
    info = _answers(env)
    if info:
        return Engine(env, info)
    if os.environ.get("DOCKER_HOST"):
        raise Unavailable(f"nothing answers at DOCKER_HOST={os.environ['DOCKER_HOST']}")
    if os.geteuid() != 0:
        raise Unavailable("no engine answers, and only root can start one: sudo ./dev test-containers, or be in the group docker")
    missing = [p for p in ("dockerd", "unshare", "ip", "slirp4netns") if not shutil.which(p, path=SBIN)]
    if missing:
        raise Unavailable(f"no engine answers, and to start one {', '.join(missing)} is missing: "
                          "apt-get install docker.io iproute2 slirp4netns")
    own = Dockerd()
    try:
        env = {**own.env(), **common}
        engine = Engine(env, _answers(env), own)
        engine.remove_leftovers()
        return engine
    except BaseException:
        own.close()
        raise


current = None  # the engine that tests/container/run has found
