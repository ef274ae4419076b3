#include <stdio.h>

int main(void)
{
    volatile unsigned long counter = 0;

    puts("spinning");
    fflush(stdout);
    for (;;)
        counter++;
}
