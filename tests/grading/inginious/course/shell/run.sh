# Every word, every flag of run_student, what students and tasks share, every box.
word=$(getinput q1)
case $word in
    success) feedback-result success ;;
    failed) feedback-result failed ;;
    timeout) feedback-result timeout ;;
    overflow) feedback-result overflow ;;
    crash) feedback-result crash ;;
    ssh) ssh_student --setup-script true; exit 0 ;;
esac
feedback-msg -m "$word"
[ "$word" = success ] || exit 0

said() {
    local name=$1 out
    shift
    out=$("$@" 2> /dev/null)
    feedback-custom -j "$name" "[$?, \"$out\"]"
}
said container run_student --container default cat student/scripts/given.txt
said time run_student --time 1 sh -c "'while :; do :; done'"
said hard run_student --hard-time 1 sleep 30
said memory run_student --memory 60 python3 student/scripts/grow.py
said network run_student --share-network true
said root run_student --run-as-root true
said teardown run_student --teardown-script "touch student/torn" true
said torn sh -c 'ls student | xargs'
said shared cat public/page.txt /course/common/public/page.txt '/task/$i18n/fr.po' '/course/common/$i18n/fr.po'
said lti getinput @lti_context
for class in success info warning danger; do
    case $class in
        success) rst-msgblock -c success -t T -m body ;;
        info) rst-msgblock -c info -t T -m body ;;
        warning) rst-msgblock -c warning -t T -m body ;;
        danger) rst-msgblock -c danger -t T -m body ;;
    esac
done | feedback-msg -i q1
