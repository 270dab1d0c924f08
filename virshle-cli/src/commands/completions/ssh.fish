
# `ssh vm/NAME`: names of machines; everything else is completed as before.
complete --command ssh --condition "string match --quiet --regex '^vm[/+]' -- (commandline --current-token)" \
    --no-files --arguments "(v vm hosts (commandline --current-token) 2> /dev/null)"
