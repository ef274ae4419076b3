#include <stdio.h>

int main(void)
{
    int year;

    while (scanf("%d", &year) == 1)
        puts(year % 4 ? "no" : "yes");
    return 0;
}
