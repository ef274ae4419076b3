<?php

echo "spinning\n";
while (true) {
}
