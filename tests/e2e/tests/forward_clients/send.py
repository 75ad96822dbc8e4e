"""Sends lines of HAProxy's log with PyPI's fluent-logger: send.py PORT FIRST COUNT"""
import sys

from fluent import sender

port, first, count = map(int, sys.argv[1:])
LINE = '{"rc":"r|s|500|a|b|clients/python|aaaa|bbbb|1","sd":"c","st":200,"ts":"--","tr":3,"p":11,"n":%d}'
fluent = sender.FluentSender("haproxy", host="127.0.0.1", port=port, nanosecond_precision=True)
for n in range(first, first + count):
    if not fluent.emit("access", {"message": LINE % n, "level": 6, "nested": {"a": [1, None, 2.5, True]}}):
        sys.exit(f"not sent: {fluent.last_error}")
fluent.close()
