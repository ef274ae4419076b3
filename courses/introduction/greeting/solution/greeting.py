name = input().strip()
if name == "":
    name = "stranger"
print(f"Hello, {name}!")
