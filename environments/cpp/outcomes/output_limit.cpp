#include <cstdio>

int main()
{
    for (;;)
        std::puts("All work and no play makes Jack a dull boy.");
}
