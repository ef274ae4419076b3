name = input()
# Greet whoever it is.
