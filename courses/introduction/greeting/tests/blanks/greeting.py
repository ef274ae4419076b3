name = input()
print(f"Hello, {name or 'stranger'}!")
