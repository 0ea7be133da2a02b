"""Exit statuses of the scripts."""

DONE = 0
DIFFERENT = 1
"""A sample log that is not what its run would write."""
USER_ERROR = 2
"""A mistake of the user, memory that does not suffice, or a disk that cannot be written: one line on stderr."""
NOT_FINITE = 3
"""NaN or infinity stopped the run."""
PEER_LOST = 4
"""Another process of the same run is gone, or does not answer."""
HUNG_UP = 129
"""The terminal is gone (SIGHUP), after the state was saved if there was one."""
INTERRUPTED = 130
"""Ctrl-C (SIGINT), likewise."""
TERMINATED = 143
"""SIGTERM, likewise."""
