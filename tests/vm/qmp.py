#!/usr/bin/env python3
"""Sends one command to a QEMU monitor (QMP) and prints its answer.

usage: qmp.py SOCKET COMMAND [ARGUMENTS]

ARGUMENTS is a JSON object.
"""
import json
import socket
import sys


def answer(stream):
    """The next message that is an answer, not an event."""
    for line in stream:
        message = json.loads(line)
        if "event" not in message:
            return message
    sys.exit("qmp: QEMU closed its monitor")


def main():
    path, command, *rest = sys.argv[1:]
    arguments = {"arguments": json.loads(rest[0])} if rest else {}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(path)
        stream = connection.makefile("rw", encoding="utf-8")
        answer(stream)  # the greeting
        for name, more in (("qmp_capabilities", {}), (command, arguments)):
            stream.write(json.dumps({"execute": name, **more}) + "\n")
            stream.flush()
            reply = answer(stream)
            if "error" in reply:
                sys.exit(f"qmp: {name}: {reply['error']['desc']}")
        print(json.dumps(reply["return"]))


if __name__ == "__main__":
    main()
