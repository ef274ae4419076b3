while true; do
    echo "All work and no play makes Jack a dull boy."
done
