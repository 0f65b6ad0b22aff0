#!/usr/bin/env python3
"""Takes alerts of a webhook sink, looks whether they are signed with pager.secret, and writes a line of each to pager.txt."""
import hashlib
import hmac
import http.server
import json
import time

with open("pager.secret", "rb") as f:
    SECRET = f.read().strip()


class Pager(http.server.BaseHTTPRequestHandler):
    seen = set()  # ids: an alert may come again when its answer got lost

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        sent = dict(part.split("=", 1) for part in self.headers.get("X-Weir-Signature", "").split(",") if "=" in part)
        want = hmac.new(SECRET, sent.get("t", "").encode() + b"." + body, hashlib.sha256).hexdigest()
        if not (hmac.compare_digest(want, sent.get("v1", "")) and abs(time.time() - int(sent["t"])) < 300):
            return self.answer(401)
        for alert in json.loads(body)["alerts"]:
            if alert["id"] not in self.seen:
                self.seen.add(alert["id"])
                self.page(alert)
        self.answer(204)  # not before it is written

    def page(self, alert):
        with open("pager.txt", "a") as f:
            print(alert["state"], alert["alert"], "/".join(alert["group"].values()), "since", alert["since"], alert["values"], file=f)

    def answer(self, status):
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


http.server.HTTPServer(("127.0.0.1", 9000), Pager).serve_forever()
