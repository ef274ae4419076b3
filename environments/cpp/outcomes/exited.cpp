#include <cstdlib>
#include <iostream>

int main(int argc, char **argv)
{
    int code = argc > 1 ? std::atoi(argv[1]) : 0;

    std::cout << "leaving with " << code << std::endl;
    return code;
}
