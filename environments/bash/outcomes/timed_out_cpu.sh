echo spinning
while true; do
    :
done
