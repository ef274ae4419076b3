"""Whether the output is two primes, and the input their sum."""

import sys
from pathlib import Path

RIGHT, WRONG, PARTLY = 42, 43, 44


def is_prime(number):
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def judge(wanted, words):
    """The status to end with, and what to say."""
    if len(words) != 2:
        return WRONG, "Two numbers are asked for."
    if not all(len(word) <= 9 and word.isascii() and word.isdigit() for word in words):
        return WRONG, "These are no whole numbers."
    numbers = [int(word) for word in words]
    if sum(numbers) != wanted:
        return WRONG, "Their sum is another one."
    primes = [number for number in numbers if is_prime(number)]
    if len(primes) == 1:
        return PARTLY, "0.25\nOne of them is a prime, and the other one isn't."
    return (RIGHT, "") if primes else (WRONG, "These are no primes.")


wanted = int(Path("input").read_text())
status, said = judge(wanted, Path("output").read_text(errors="replace").split())
print(said)
sys.exit(status)
