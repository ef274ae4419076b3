<?php

echo "sleeping\n";
sleep(3600);
