#error "grösse"
int main(void) { int unused; return 0; }
