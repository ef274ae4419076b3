word=$1
file=$2
