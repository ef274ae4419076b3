#include <stdio.h>
#include <string.h>

int main(void)
{
    char name[100];

    for (;;) {
        printf("Who are you? ");
        fflush(stdout); /* a question must be seen before its answer is read */
        if (!fgets(name, sizeof name, stdin))
            break;
        name[strcspn(name, "\n")] = '\0';
        printf("Hello, %s!\n", name);
    }
    puts("Bye.");
}
