feedback-result success
feedback-msg -m "$(getinput @random | tr -cd ,)$(getinput q1)"
