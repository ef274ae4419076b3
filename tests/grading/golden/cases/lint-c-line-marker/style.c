# 1 "style.c" 3
int main(void) { int a, b, c; return 0; }
#pragma/**/GCC diagnos\
tic ignored "-Wall"
int f(void) { int d, e; return 0; }
