
# `ssh vm/NAME`: names of machines; everything else is completed as before.
__virshle_ssh() {
    local word=${COMP_WORDS[COMP_CWORD]}
    if [[ $word == vm[/+]* ]]; then
        local IFS=$'\n'
        COMPREPLY=($(v vm hosts "$word" 2> /dev/null))
        return
    fi
    if [[ -z ${__virshle_ssh_other+set} ]]; then
        # What bash-completion has for ssh is loaded when it is first wanted.
        complete -r ssh 2> /dev/null
        if declare -F _comp_load > /dev/null; then
            _comp_load ssh 2> /dev/null
        elif declare -F _completion_loader > /dev/null; then
            _completion_loader ssh 2> /dev/null
        fi
        __virshle_ssh_other=$(complete -p ssh 2> /dev/null | sed -n 's/.* -F \([^ ]*\) .*/\1/p')
        complete -o default -F __virshle_ssh ssh
    fi
    if [[ -n $__virshle_ssh_other ]]; then
        "$__virshle_ssh_other" "$@"
    fi
}
complete -o default -F __virshle_ssh ssh
