[ -e $2 ] || exit 2
cat $2 | grep -c $1
true
