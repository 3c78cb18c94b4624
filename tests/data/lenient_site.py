"""A WSGI site that reads more into a path than any real stack: decodes twice, drops path parameters, takes
backslashes and look-alikes for separators, cuts at NUL, drops trailing dots and blanks, resolves dot segments.

Started with a file of two lines: the port, and where to write down the request lines.
"""

import posixpath
import re
import socketserver
import sys
import threading
import unicodedata
from urllib.parse import unquote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

SEPARATORS = set("./\\;%")
port, log = open(sys.argv[1], encoding="utf-8").read().split("\n")
log = open(log, "ab", buffering=0)
lock = threading.Lock()


def fold(char):
    folded = unicodedata.normalize("NFKC", char)
    return folded if SEPARATORS & set(folded) else {"\u2215": "/", "\u2044": "/", "\u2216": "\\"}.get(char, char)


def resource(path):
    path = path.encode("latin-1").decode("utf-8", "ignore")
    path = "".join(map(fold, unquote(path)))
    path = unquote(path).split("\0")[0].replace("\\", "/")
    path = re.sub(";[^/]*", "", path)
    path = posixpath.normpath("/" + "/".join(part if part in (".", "..") else part.strip(" \t").rstrip(". ")
                                             for part in path.split("/"))).lstrip("/")
    return path.split("/")[0] or "home"


def site(environ, respond):
    name = resource(environ["PATH_INFO"])
    known = name in ("public", "private", "admin", "home")
    body = b"" if environ["REQUEST_METHOD"] == "HEAD" else ("resource=" + name).encode()
    if not known:
        body = b""
    respond("200 OK" if known else "404 Not Found", [("Content-Length", str(len(body)))])
    return [body]


class Handler(WSGIRequestHandler):
    def get_environ(self):
        line = self.raw_requestline.rstrip(b"\r\n")
        with lock:
            log.write(self.headers.get("X-Case", "-").encode() + b" " + line + b"\n")
        return super().get_environ()

    def address_string(self):
        return self.client_address[0]

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self):
        # The original asks the resolver for its name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]
        self.setup_environ()


with Server(("127.0.0.1", int(port)), Handler) as server:
    server.set_app(site)
    server.serve_forever()
