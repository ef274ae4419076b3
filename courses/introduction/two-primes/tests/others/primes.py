number = int(input())
primes = [p for p in range(2, number) if all(p % q for q in range(2, int(p**0.5) + 1))]
known = set(primes)
print(*next((p, number - p) for p in reversed(primes) if number - p in known))
