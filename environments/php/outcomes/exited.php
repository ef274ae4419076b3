<?php

$code = (int) $argv[1];
echo "leaving with $code\n";
exit($code);
