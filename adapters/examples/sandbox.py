#!/usr/bin/env python3
"""An example: the device is a directory on the node, with POSIX sh. Its option is `root`.

Copy it, and put your device's means in the place of files and subprocesses. What must stay: a file appears under its name
only when it is whole, a script that was started runs on without us, and a restart is asked for once.
"""

import os
import secrets
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))
from wardround_adapter import Problem, content, main, text_of, u32


class Sandbox:
    def describe(self, request):
        return {
            "name": "sandbox-py",
            "version": "1",
            "protocols": [1],
            "shells": ["sh"],
            "verbs": ["describe", "inventory", "put", "get", "run", "start", "reboot", "ping", "remove"],
            "options": {"root": "the device's directory"},
            "credentials": {},
        }

    def root(self, request):
        """The device's directory; one that is not there is a device that is switched off."""
        root = request.option("root")
        if not os.path.isdir(root):
            raise Problem("unreachable", "%s is not there" % root)
        return root

    def op_dir(self, request):
        self.root(request)
        return os.path.join(request.dir, request.op)

    def ping(self, request):
        self.root(request)

    def boot(self, request):
        try:
            with open(os.path.join(self.root(request), "boot-id"), encoding="ascii") as file:
                return {"mark": file.read().strip() or "first"}
        except FileNotFoundError:
            return {"mark": "first"}

    def inventory(self, request):
        return {"boot": self.boot(request), "facts": {"system": "sandbox"}}

    def put(self, request):
        target = self.op_dir(request)
        os.makedirs(target, exist_ok=True)
        total = 0
        for name, source in request.files():
            path = os.path.join(target, name)
            part = "%s.%d.part" % (path, os.getpid())
            shutil.copyfile(source, part)
            os.replace(part, path)
            total += os.path.getsize(path)
            self.progress(done=total)
        return {"bytes": total}

    def get(self, request):
        bytes_max = request.count("bytes_max")
        try:
            with open(os.path.join(self.op_dir(request), request.file_name()), "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - bytes_max))
                return content(file.read(bytes_max))
        except FileNotFoundError:
            return {"found": False}

    def environment(self, request):
        return dict(os.environ, WARDROUND_DEVICE_ROOT=self.root(request))

    def run(self, request):
        limit = request.count("output_bytes_max")
        with subprocess.Popen(
            ["sh", "-c", request.text("line")],
            cwd=self.root(request),
            env=self.environment(request),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as child:
            kept = child.stdout.read(limit)
            # The rest is read, so that the command can end, and dropped.
            while child.stdout.read(65536):
                pass
        return {"exit_code": u32(child.returncode), "stdout": text_of(kept)}

    def start(self, request):
        script = os.path.join(self.op_dir(request), request.file_name())
        if not os.path.isfile(script):
            raise Problem("bad_request", "there is no such script")
        self.detached(request, ["sh", script])

    def detached(self, request, command):
        """Runs on without us."""
        return subprocess.Popen(
            command,
            cwd=self.root(request),
            env=self.environment(request),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def reboot(self, request):
        # The run that is to end may have ended already: then somebody's answer was lost.
        before = request.args.get("boot")
        if before is not None and before != self.boot(request):
            return {"already": True}
        root = self.root(request)
        part = os.path.join(root, "boot-id.part")
        with open(part, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(16))
        os.replace(part, os.path.join(root, "boot-id"))
        try:
            os.remove(os.path.join(root, "reboot-pending"))
        except FileNotFoundError:
            pass
        return {"already": False}

    def remove(self, request):
        shutil.rmtree(self.op_dir(request), ignore_errors=True)


if __name__ == "__main__":
    main(Sandbox())
