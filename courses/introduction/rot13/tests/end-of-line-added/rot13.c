#include <stdio.h>

static int turned(int letter, int first)
{
    return (letter - first + 13) % 26 + first;
}

int main(void)
{
    int letter;

    while ((letter = getchar()) != EOF) {
        if (letter >= 'a' && letter <= 'z')
            letter = turned(letter, 'a');
        else if (letter >= 'A' && letter <= 'Z')
            letter = turned(letter, 'A');
        putchar(letter);
    }
    putchar('\n');
    return 0;
}
