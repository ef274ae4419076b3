#pragma GCC diagnostic ignored "-Wunused-variable"
