if [[ $# -ne 2 ]]; then
    echo "usage: count.sh WORD FILE" >&2
    exit 1
fi
if [[ ! -f $2 ]]; then
    echo "there is no file $2" >&2
    exit 2
fi
count=0
while read -r line || [[ -n $line ]]; do
    if [[ $line == *"$1"* ]]; then
        count=$((count + 1))
    fi
done < "$2"
echo "$count"
