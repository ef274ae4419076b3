#include <stdlib.h>
#include <string.h>

int main(void)
{
    for (;;) {
        char *volatile block = malloc(1000000);

        if (block)
            memset(block, 'x', 1000000); /* only memory that is used counts */
    }
}
