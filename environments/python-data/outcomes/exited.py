import sys

code = int(sys.argv[1])
print("leaving with", code)
sys.exit(code)
