echo sleeping
sleep 3600
