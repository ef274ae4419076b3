<?php

echo "Who are you? ";
while (($line = fgets(STDIN)) !== false) {
    $name = rtrim($line, "\n");
    echo "Hello, $name!\n";
    echo "Who are you? ";
}
echo "Bye.\n";
