#!/usr/bin/python3
"""Lets a test drive a Jami daemon: lines of JSON on standard input, lines of JSON on standard output.

usage: driver.py HOME JAMID

  {"start": true}                   starts a bus of its own and the daemon on it    -> {"result": null}
  {"stop": true}                    ends the daemon in good order                   -> {"result": null}
  {"call": METHOD, "args": [...]}   a method of the configuration manager           -> {"result": ...} or {"error": ...}

Each has an "id" of the test's choosing, which its answer repeats. What the daemon tells is passed on as it comes:
{"signal": NAME, "args": [...]}. At the end of standard input everything ends; and with this process, whatever happens to it,
so do the bus and the daemon.
"""

import ctypes
import json
import os
import platform
import queue
import signal
import struct
import subprocess
import sys
import threading

import dbus
from dbus.mainloop.glib import DBusGMainLoop

NAME = "cx.ring.Ring"
OBJECT = "/cx/ring/Ring/ConfigurationManager"
INTERFACE = "cx.ring.Ring.ConfigurationManager"
# Seconds in which a busy machine starts or ends a daemon.
PATIENCE = 60
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
# The architecture as seccomp names it, and its number of recvfrom.
RECVFROM = {"x86_64": (0xC000003E, 45), "aarch64": (0xC00000B7, 207)}
EOPNOTSUPP = 95

glib = ctypes.CDLL("libglib-2.0.so.0")
libc = ctypes.CDLL(None)


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_void_p)]


def refuse_netlink_loop():
    """Lets one call fail in this process: `recv` of 4096 bytes without flags.

    The daemon's PJSIP asks the kernel for IPv6 addresses so, and reads until a message of its own says that there are no more.
    Recent kernels put that into the last message with addresses, where it does not look: it would wait for ever, and with it
    everything that the daemon says to the DHT.
    """
    known = RECVFROM.get(platform.machine())
    if known is None:
        return
    load, equal, answer = 0x20, 0x15, 0x06
    architecture, number, length, flags, address = 4, 0, 32, 40, 48
    tests = [(architecture, known[0]), (number, known[1]), (length, 4096), (flags, 0), (address, 0)]
    program = []
    for at, (place, value) in enumerate(tests):
        program += [(load, 0, 0, place), (equal, 0, 2 * (len(tests) - at) - 1, value)]
    program += [(answer, 0, 0, SECCOMP_RET_ERRNO | EOPNOTSUPP), (answer, 0, 0, SECCOMP_RET_ALLOW)]
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    code = ctypes.create_string_buffer(code, len(code))
    loaded = Filter(len(program), ctypes.addressof(code))
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(loaded), 0, 0) != 0:
        raise OSError("the filter is refused")


def with_us():
    """A child is killed when this process ends, however that happens."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    refuse_netlink_loop()


def run(command, **options):
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=with_us, **options)


def say(message):
    print(json.dumps(message), flush=True)


def plain(value):
    """What JSON knows, of what D-Bus has types for."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, dbus.Boolean):
        return bool(value)
    if isinstance(value, (int, float)):
        return value if isinstance(value, float) else int(value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if value is None else str(value)


class Client:
    def __init__(self, home, jamid):
        self.home, self.jamid = home, jamid
        self.log = open(os.path.join(home, "jamid.log"), "ab")
        self.bus = self.bus_daemon = self.daemon = self.manager = None

    def open_bus(self):
        address = "unix:path=" + os.path.join(self.home, "bus")
        command = ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--nosyslog", "--print-address=1"]
        self.bus_daemon = run(command + ["--address=" + address], stdout=subprocess.PIPE, stderr=self.log)
        # It is there when it has told where.
        os.environ["DBUS_SESSION_BUS_ADDRESS"] = self.bus_daemon.stdout.readline().decode().strip()
        self.bus = dbus.SessionBus()
        self.bus.add_signal_receiver(self.pass_on, dbus_interface=INTERFACE, member_keyword="member")

    def pass_on(self, *args, member):
        say({"signal": member, "args": plain(args)})

    def start(self):
        if self.bus is None:
            self.open_bus()
        up = []
        watch = self.bus.watch_name_owner(NAME, lambda owner: up.append(owner) if owner else None)
        self.daemon = run([self.jamid, "-c", "-d", "-p"], stdout=self.log, stderr=self.log)
        self.until(lambda: up)
        watch.cancel()
        self.manager = dbus.Interface(self.bus.get_object(NAME, OBJECT), INTERFACE)

    def until(self, condition):
        """Handles what comes over the bus until the condition holds, or the daemon has ended."""
        ticks = iter(range(PATIENCE * 100))
        while not condition():
            if self.daemon.poll() is not None or next(ticks, None) is None:
                raise RuntimeError("the daemon does not start")
            try:
                self.daemon.wait(0.01)
            except subprocess.TimeoutExpired:
                while glib.g_main_context_iteration(None, False):
                    pass

    def stop(self):
        if self.daemon is not None:
            self.daemon.terminate()
            try:
                self.daemon.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
            self.daemon = self.manager = None

    def end(self):
        self.stop()
        if self.bus_daemon is not None:
            self.bus_daemon.terminate()
            self.bus_daemon.wait()

    def answer(self, request):
        if "start" in request:
            return self.start()
        if "stop" in request:
            return self.stop()
        return plain(getattr(self.manager, request["call"])(*request["args"]))


def main():
    DBusGMainLoop(set_as_default=True)
    client = Client(sys.argv[1], sys.argv[2])
    requests = queue.SimpleQueue()

    def read():
        for line in sys.stdin:
            requests.put(json.loads(line))
            glib.g_main_context_wakeup(None)
        requests.put(None)
        glib.g_main_context_wakeup(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        glib.g_main_context_iteration(None, True)
        while not requests.empty():
            request = requests.get()
            if request is None:
                client.end()
                return
            try:
                say({"id": request["id"], "result": client.answer(request)})
            except Exception as error:  # The test decides what it means.
                say({"id": request["id"], "error": str(error)})


main()
