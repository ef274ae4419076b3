printf 'Who are you? '
while read -r name; do
    echo "Hello, $name!"
    printf 'Who are you? '
done
echo "Bye."
