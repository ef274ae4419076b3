#include <stdbool.h>
#include <stdio.h>

static bool is_leap(int year)
{
    return year % 400 == 0 || (year % 4 == 0 && year % 100 != 0);
}

int main(void)
{
    int year;

    while (scanf("%d", &year) == 1)
        puts(is_leap(year) ? "yes" : "no");
    return 0;
}
