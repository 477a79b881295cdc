#!/usr/bin/env python3
"""Receives what Alertmanager posts, on 127.0.0.1:9099, and prints a line for each alert: a start for a program of your own.

In alertmanager.yml:  webhook_configs: [{url: 'http://127.0.0.1:9099/', max_alerts: 5}]
It takes no action by itself, and so it should be: a source address can be forged.

usage: webhook.py [PORT]
"""
import http.server, json, sys

# What more than five alerts can need; whatever is longer was not sent by our Alertmanager.
LONGEST = 64 * 1024


class Receiver(http.server.BaseHTTPRequestHandler):
    timeout = 10

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= LONGEST:
            return self.send_error(413)
        try:
            alerts = json.loads(self.rfile.read(length))["alerts"]
            for alert in alerts:
                labels = alert["labels"]
                of_many = labels["alertname"] in ("PortScanStorm", "PortScanDistributed")
                source = labels.get("source", "many" if of_many else "-")
                print(alert["status"], labels["alertname"], labels.get("severity", "-"), source, labels.get("instance", "-"), flush=True)
        except (ValueError, KeyError, TypeError):
            return self.send_error(400)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9099), Receiver).serve_forever()
