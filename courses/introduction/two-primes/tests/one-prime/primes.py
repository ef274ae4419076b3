number = int(input())
print(7, 3) if number == 10 else print(3, number - 3)
