"""TLS, and a user and password (SASL PLAIN), in front of librdkafka's mock brokers, which have neither: each broker gets a port where clients
must show a certificate and log in; all else passes through, but for the addresses that brokers tell clients of, which become those ports."""

import socket
import ssl
import struct
import threading

import weirtest

METADATA, HANDSHAKE, API_VERSIONS, AUTHENTICATE = 3, 17, 18, 36  # Kafka's numbers of requests
AUTHENTICATION_FAILED = 58
HOST = b"\x00\x09127.0.0.1"


def exactly(s, n):
    out = b""
    while len(out) < n:
        part = s.recv(n - len(out))
        if not part:
            raise OSError("closed")
        out += part
    return out


def frame_of(s):
    return exactly(s, struct.unpack(">i", exactly(s, 4))[0])


def send(s, payload):
    s.sendall(struct.pack(">i", len(payload)) + payload)


class Door:
    """with Door(mock.bootstrap, context, {"user": "password"}) as d: d.brokers is what clients are told."""

    def __init__(self, brokers, context, users):
        self.context, self.users = context, users
        self.entered, self.turned_away = 0, 0
        self.inner = [int(b.split(":")[1]) for b in brokers]
        self.outer = [weirtest.free_port() for _ in brokers]
        self.brokers = [f"127.0.0.1:{p}" for p in self.outer]
        self.sockets = []

    def __enter__(self):
        for outer, inner in zip(self.outer, self.inner):
            s = socket.create_server(("127.0.0.1", outer))
            self.sockets.append(s)
            threading.Thread(target=self.listen, args=(s, inner), daemon=True).start()
        return self

    def __exit__(self, kind, value, trace):
        for s in self.sockets:
            s.close()

    def listen(self, listener, inner):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client, inner), daemon=True).start()

    def serve(self, client, inner):
        try:
            client = self.context.wrap_socket(client, server_side=True)
            broker = socket.create_connection(("127.0.0.1", inner))
        except OSError:
            client.close()
            return
        with client, broker:
            try:
                self.requests(client, broker)
            except OSError:
                pass

    def requests(self, client, broker):
        """One request, then its answer: a client may send further ones, which wait."""
        inside = False
        while True:
            request = frame_of(client)
            kind, _, number = struct.unpack(">hhi", request[:8])
            if kind == HANDSHAKE:
                send(client, struct.pack(">ihi", number, 0, 1) + b"\x00\x05PLAIN")
            elif kind == AUTHENTICATE:
                inside = self.authenticate(client, number, request)
            elif kind == API_VERSIONS or inside:
                send(broker, request)
                send(client, self.changed(kind, frame_of(broker)))
            else:
                raise OSError("asked before it logged in")

    def authenticate(self, client, number, request):
        _, user, password = request[request.index(b"\x00", 14):].split(b"\x00")[-3:]
        fine = self.users.get(user.decode()) == password.decode()
        if fine:
            self.entered += 1
            send(client, struct.pack(">ihhi", number, 0, -1, 0))
        else:
            self.turned_away += 1
            why = b"wrong user or password"
            send(client, struct.pack(">ihh", number, AUTHENTICATION_FAILED, len(why)) + why + struct.pack(">i", 0))
        return fine

    def changed(self, kind, answer):
        if kind == API_VERSIONS:  # number, error, count, and (request, from version, to version) of each
            count, = struct.unpack(">i", answer[6:10])
            return answer[:6] + struct.pack(">i", count + 2) + struct.pack(">6h", HANDSHAKE, 0, 1, AUTHENTICATE, 0, 0) + answer[10:]
        for inner, outer in zip(self.inner, self.outer) if kind == METADATA else []:
            answer = answer.replace(HOST + struct.pack(">i", inner), HOST + struct.pack(">i", outer))
        return answer


def context_of(folder):
    """Server side, of test_mqtt.certificates(folder); who comes must have one of the same CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/broker.crt", f"{folder}/broker.key")
    context.load_verify_locations(f"{folder}/ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    return context
