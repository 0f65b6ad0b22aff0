"""Links between the nodes of a cluster that a test can cut: a relay for each (from, to), in one thread of the test.

Each cloud gets a topology file of its own in which its peers listen at the relays' ports. A cut link stays connected and
carries nothing, as a network that drops packets; what was sent meanwhile is delivered when it heals, late and in order,
as TCP does. Connections made while a link is cut hang."""

import socket
import threading
import time

from weirtest import free_port

CHUNK = 65536


class Relay:
    def __init__(self, target_port):
        self.target_port = target_port
        self.port = free_port()
        self.open = True
        self.server = socket.socket()
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.server.bind(("127.0.0.1", self.port))
        self.server.listen(64)
        self.server.setblocking(False)
        self.waiting = []  # accepted while cut
        self.pairs = []


class Pipe:
    """One direction of one connection."""

    def __init__(self, relay, source, sink):
        self.relay, self.source, self.sink = relay, source, sink
        self.held = b""
        self.ended = False


class Links:
    def __init__(self):
        self.relays = {}
        self.lock = threading.Lock()
        self.pipes = []
        self.stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def add(self, name, target_port):
        self.relays[name] = Relay(target_port)
        return self.relays[name].port

    def start(self):
        self.thread.start()

    def cut(self, *names):
        with self.lock:
            for n in names:
                self.relays[n].open = False

    def heal(self):
        with self.lock:
            for r in self.relays.values():
                r.open = True

    def close(self):
        self.stopping = True
        if self.thread.is_alive():
            self.thread.join()
        for r in self.relays.values():
            r.server.close()
            for s in r.waiting:
                s.close()
        for p in self.pipes:
            p.source.close()
            p.sink.close()

    def connect(self, relay, client):
        try:
            upstream = socket.create_connection(("127.0.0.1", relay.target_port), timeout=5)
        except OSError:
            client.close()
            return
        for s in (client, upstream):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.setblocking(False)
        self.pipes += [Pipe(relay, client, upstream), Pipe(relay, upstream, client)]

    def accept(self):
        for relay in self.relays.values():
            try:
                while True:
                    relay.waiting.append(relay.server.accept()[0])
            except OSError:
                pass
            if relay.open:
                for client in relay.waiting:
                    self.connect(relay, client)
                relay.waiting = []

    def pump(self, pipe):
        """Moves what can be moved; False: the connection has ended."""
        while True:
            if not pipe.held:
                try:
                    pipe.held = pipe.source.recv(CHUNK)
                except BlockingIOError:
                    return True
                except OSError:
                    return False
                if not pipe.held:
                    return False
            try:
                pipe.held = pipe.held[pipe.sink.send(pipe.held):]
            except BlockingIOError:
                return True
            except OSError:
                return False

    def run(self):
        while not self.stopping:
            with self.lock:
                self.accept()
                ended = set()
                for p in self.pipes:
                    if p.relay.open and not self.pump(p):
                        ended |= {p.source, p.sink}
                for s in ended:
                    s.close()
                if ended:
                    self.pipes = [p for p in self.pipes if p.source not in ended and p.sink not in ended]
            time.sleep(0.002)
