#include <stdio.h>

int main(void)
{
    int year;

    while (scanf("%d", &year) == 1)
        puts("no");
    return 0;
}
