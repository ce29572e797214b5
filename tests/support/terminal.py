"""Runs a command on a terminal and answers it: prints, as JSON, how it ended and what it wrote.

usage: terminal.py STEPS COMMAND...

STEPS is JSON: a list of [words to wait for, text to type]. The text may hold control characters; `<TERM>` and the like
stand for a signal. What is waited for has to come after what came before.
"""

import json
import os
import pty
import select
import signal
import sys
import termios
import time

PATIENCE = 120


def main():
    steps = json.loads(sys.argv[1])
    waits, goes = os.pipe()
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        # Not before the terminal's settings are known: the command changes them.
        os.read(waits, 1)
        os.execvp(sys.argv[2], sys.argv[2:])
    before = termios.tcgetattr(terminal)
    os.write(goes, b".")
    output, seen, deadline = "", 0, time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if steps and (at := output.find(steps[0][0], seen)) >= 0:
            seen = at + len(steps[0][0])
            text = steps.pop(0)[1]
            if text.startswith("<"):
                # A moment for the question to be waited at.
                time.sleep(0.3)
                os.kill(pid, signal.Signals["SIG" + text.strip("<>")])
            else:
                os.write(terminal, text.encode())
            continue
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break
        if not data:
            break
        output += data.decode(errors="replace")
    else:
        os.kill(pid, 9)
    try:
        restored = termios.tcgetattr(terminal) == before
    except termios.error:
        restored = None
    _, status = os.waitpid(pid, 0)
    json.dump({
        "code": os.waitstatus_to_exitcode(status),
        "output": output,
        "unasked": [words for words, _ in steps],
        "restored": restored,
        "cursor": output.rfind("\x1b[?25h") >= output.rfind("\x1b[?25l"),
    }, sys.stdout)


main()
