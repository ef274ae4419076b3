def is_prime(number):
    if number < 2:
        return False
    for divisor in range(2, number):
        if divisor * divisor > number:
            break
        if number % divisor == 0:
            return False
    return True


number = int(input())
for one in range(2, number):
    if is_prime(one) and is_prime(number - one):
        print(one, number - one)
        break
