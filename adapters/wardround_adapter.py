"""The protocol of docs/adapters.md, for adapters in Python 3.8 or later. Standard library only.

An adapter makes a class with a method for each verb that it knows, and gives an instance to main(). A method takes the
Request and returns a dict with what the verb gives, or raises Problem. Everything that is printed goes to the log.
"""

import base64
import json
import os
import sys
import traceback

PROTOCOL = 1
VERBS = ("describe", "inventory", "put", "get", "run", "start", "reboot", "ping", "remove", "install", "uninstall", "detect", "withdraw")


class Problem(Exception):
    """A result that is not "ok": one of unreachable, refused, bad_request, failed."""

    def __init__(self, outcome, detail):
        super().__init__(detail)
        self.outcome = outcome


class Request:
    """What the node asks, with its form checked."""

    def __init__(self, document):
        if not isinstance(document, dict) or document.get("protocol") != PROTOCOL:
            raise Problem("bad_request", "this adapter speaks protocol %d" % PROTOCOL)
        self.op = self._text(document, "op_id")
        if not plain(self.op):
            raise Problem("bad_request", "op_id is no plain name")
        self.deadline = document.get("deadline_ms", 60000) / 1000
        device = document.get("device") or {}
        self.device = device.get("name", "")
        self.shell = device.get("shell", "")
        self.dir = device.get("dir", "")
        self.options = device.get("options") or {}
        self.credentials = document.get("credentials") or {}
        self.args = document.get("args") or {}

    @staticmethod
    def _text(fields, name):
        value = fields.get(name)
        if not isinstance(value, str) or not value:
            raise Problem("bad_request", "%s is no text" % name)
        return value

    def option(self, name, default=None):
        value = self.options.get(name, default)
        if value is None:
            raise Problem("bad_request", "the option %s is missing" % name)
        return value

    def text(self, name):
        return self._text(self.args, name)

    def count(self, name):
        value = self.args.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise Problem("bad_request", "%s is no count" % name)
        return value

    def file_name(self, name="name"):
        """The name of a file in the operation's directory: it must not lead out of it."""
        value = self.text(name)
        if not plain(value):
            raise Problem("bad_request", "%s is no plain name" % name)
        return value

    def files(self):
        """What `put` brings: pairs of a name and a path on the node."""
        files = self.args.get("files")
        if not isinstance(files, list) or not files:
            raise Problem("bad_request", "files is no list")
        found = []
        for file in files:
            if not isinstance(file, dict) or not plain(file.get("name")) or not os.path.isabs(file.get("source") or ""):
                raise Problem("bad_request", "a file needs a plain name and the absolute path of its source")
            if not os.path.isfile(file["source"]):
                raise Problem("bad_request", "the source of %s is not there" % file["name"])
            found.append((file["name"], file["source"]))
        return found


def plain(name):
    """Nothing that a shell or a path gives a meaning to."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+"
    return isinstance(name, str) and name != "" and name[0] not in ".-" and all(c in letters for c in name)


def content(data):
    """The result of `get` for a file that is there: the last bytes of it."""
    return {"found": True, "content_base64": base64.b64encode(data).decode("ascii")}


def text_of(data):
    """What a device printed, as text: UTF-16 with its mark, else UTF-8 with anything else replaced."""
    if data[:2] == b"\xff\xfe":
        return data[2:].decode("utf-16-le", "replace")
    return data.decode("utf-8", "replace")


def u32(code):
    """An exit code as the number of 32 bits that Windows means."""
    return code & 0xFFFFFFFF


def main(adapter):
    """Answers one call, and ends the program."""
    # Whoever prints must not break the protocol: what is printed goes to the log.
    out, sys.stdout = sys.stdout, sys.stderr

    def say(line):
        out.write(json.dumps(line) + "\n")
        out.flush()

    op = ""
    try:
        verb = sys.argv[-1] if len(sys.argv) > 1 else ""
        try:
            document = json.load(sys.stdin)
        except ValueError:
            print("the request is no JSON", file=sys.stderr)
            sys.exit(2)
        op = document.get("op_id", "") if isinstance(document, dict) else ""
        if not isinstance(op, str):
            op = ""
        # A verb that nobody knows is no mistake: the node may be newer.
        method = getattr(adapter, verb, None) if verb in VERBS else None
        if method is None:
            result = {"outcome": "unsupported", "detail": "the verb %.40s is not known" % verb}
        else:
            adapter.progress = lambda **fields: say({"progress": fields})
            result = dict(method(Request(document)) or {}, outcome="ok")
    except Problem as problem:
        result = {"outcome": problem.outcome, "detail": str(problem)}
    except Exception as error:  # the device, or this program: the node only learns that it failed, and looks again
        traceback.print_exc()
        result = {"outcome": "failed", "detail": "%s: %s" % (type(error).__name__, error)}
    result["op_id"] = op
    say({"result": result})
    out.close()
    # Threads of libraries must not hold the program.
    os._exit(0)
