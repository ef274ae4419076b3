#include <iostream>
#include <string>

int main()
{
    std::string name;

    while (std::cout << "Who are you? " && std::getline(std::cin, name))
        std::cout << "Hello, " << name << "!" << std::endl;
    std::cout << "Bye." << std::endl;
}
