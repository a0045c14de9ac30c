#!/usr/bin/env python3
"""An example with whole steps: the device has a tool of its vendor's that installs packages by itself, and the node's launcher
stays out of it. The device is the directory of sandbox.py; the tool is simulated: it runs the package with `sh` and keeps a list.

What must stay: a step is claimed once and for all before the tool is called, it runs on without us, and its exit code is whole
when it can be seen. Then an answer that was lost, a kill or another call comes to the same.
"""

import os
import shutil
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from sandbox import Sandbox
from wardround_adapter import Problem, main

# How long a step that was claimed may take until its process is known.
STARTS_WITHIN = 30

# The tool: installs, or takes off, and then tells its list. $1 is the step, $2 the package, $3 the list, $4 the claim.
TOOL = """
sh "$2" "$1" > "$4/log" 2>&1
code=$?
name=$(basename "$2")
mkdir -p "$3"
if [ $code -eq 0 ]; then
    if [ "$1" = install ]; then : > "$3/$name"; else rm -f "$3/$name"; fi
fi
cp "$4/log" "$4/../wr-$1.log"
echo $code > "$4/rc.part" && mv "$4/rc.part" "$4/rc"
"""


class Vendor(Sandbox):
    def describe(self, request):
        told = super().describe(request)
        return dict(told, name="vendor-py", verbs=told["verbs"] + ["install", "uninstall", "detect", "withdraw"])

    def listed(self, request):
        """The tool's list of what is installed."""
        return os.path.join(self.root(request), "vendor")

    def claim(self, request, step, word):
        """Claims the step, whole at once: whoever comes second finds it claimed. False for them."""
        parent = self.op_dir(request)
        os.makedirs(parent, exist_ok=True)
        part = tempfile.mkdtemp(prefix="claim-", dir=parent)
        with open(os.path.join(part, word), "w", encoding="ascii"):
            pass
        try:
            os.rename(part, os.path.join(parent, "claim-" + step))
        except OSError:
            shutil.rmtree(part)
            return False
        return True

    def state(self, request, step):
        claim = os.path.join(self.op_dir(request), "claim-" + step)
        if not os.path.isdir(claim):
            return {"state": "none"}
        if os.path.exists(os.path.join(claim, "withdrawn")):
            return {"state": "withdrawn"}
        running = self.runs(claim)
        # In this order: what ends in between has left its code.
        try:
            with open(os.path.join(claim, "rc"), encoding="ascii") as file:
                return {"state": "done", "exit_code": file.read().strip()}
        except FileNotFoundError:
            return {"state": "running" if running else "dead"}

    def started(self, pid):
        """When this process started; None where it runs no more. Numbers of processes are used again."""
        try:
            with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] == "Z" else fields[19]

    def runs(self, claim):
        try:
            with open(os.path.join(claim, "process"), encoding="ascii") as file:
                pid, started = file.read().split()
        except FileNotFoundError:
            return time.time() - os.path.getmtime(os.path.join(claim, "begun")) < STARTS_WITHIN
        return self.started(int(pid)) == started

    def step(self, request, step):
        if request.args.get("begin") is not True:
            return self.state(request, step)
        # Before the claim: what is refused has not begun.
        package = os.path.join(self.op_dir(request), request.file_name("file"))
        if self.claim(request, step, "begun"):
            claim = os.path.join(self.op_dir(request), "claim-" + step)
            tool = self.detached(request, ["sh", "-c", TOOL, "tool", step, package, self.listed(request), claim])
            part = os.path.join(claim, "process.part")
            with open(part, "w", encoding="ascii") as file:
                file.write("%d %s" % (tool.pid, self.started(tool.pid)))
            os.replace(part, os.path.join(claim, "process"))
        return self.state(request, step)

    def install(self, request):
        return self.step(request, "install")

    def uninstall(self, request):
        return self.step(request, "uninstall")

    def withdraw(self, request):
        step = request.text("step")
        if step not in ("install", "uninstall"):
            raise Problem("bad_request", "step is neither install nor uninstall")
        self.claim(request, step, "withdrawn")
        return self.state(request, step)

    def detect(self, request):
        name = request.file_name("file")
        if os.path.exists(os.path.join(self.listed(request), name)):
            return {"detected": "present", "proof": "the tool lists %s" % name}
        return {"detected": "absent"}


main(Vendor())
