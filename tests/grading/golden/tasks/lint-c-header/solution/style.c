#include "style.h"

int main(void) { return ZERO; }
