[[ $# == 2 ]] || exit 1
[[ -f $2 ]] || exit 2
grep -c -- "$1" "$2" || true
