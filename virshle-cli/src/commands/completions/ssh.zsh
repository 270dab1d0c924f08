
# `ssh vm/NAME`: names of machines; everything else is completed as before.
_virshle_ssh() {
    if [[ $words[CURRENT] == vm[/+]* ]]; then
        compadd -- ${(f)"$(v vm hosts $words[CURRENT] 2> /dev/null)"}
    else
        _ssh "$@"
    fi
}
if (( $+functions[compdef] )); then
    compdef _virshle_ssh ssh
fi
