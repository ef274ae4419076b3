import ctypes

ctypes.string_at(0)  # reads at address 0
