while True:
    try:
        name = input("Who are you? ")
    except EOFError:
        print("Bye.")
        break
    print(f"Hello, {name}!")
