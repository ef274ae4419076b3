#include <iostream>

int main()
{
    volatile unsigned long counter = 0;

    std::cout << "spinning" << std::endl;
    for (;;)
        counter = counter + 1;
}
