"""Checks that misbehave, for the grader's worker processes to run."""

import os
import time


def sleepy(gold: str, answer: str, seconds: int) -> bool:
    """Equal strings are equal; some words do harm."""
    if answer == "sleep":
        time.sleep(1000)
    if answer == "power":
        return len(str(9 ** (9**9))) > 0  # one operation that no alarm interrupts
    if answer == "die":
        os._exit(3)
    if answer == "raise":
        raise ValueError(answer)
    if answer == "print":
        print("1\n" * 100, flush=True)
        os.system("echo 1")
    if answer == "memory":
        return len(bytearray(1 << 33)) > 0  # above a worker's limit
    return gold == answer


def broken(gold: str, answer: str, seconds: int) -> bool:
    """Never gets ready."""
    os._exit(4)
