number = int(input())
# Print two primes whose sum it is.
