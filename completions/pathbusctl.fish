# SPDX-License-Identifier: MIT
# Completion by fish for pathbusctl. Made by scripts/completions from what --help says: do not edit.

# Does the option of the command ("post:-m") take a value?
function __pathbusctl_takes_value
    switch $argv[1]
        case '*:--address' '*:--control' '*:--transport' '*:--timeout-ms'
            return 0
        case 'post:-m' 'post:--message' 'post:--key' 'post:--state' 'post:--timeout'
            return 0
        case 'listen:--count' 'listen:--timeout' 'listen:--exec' 'listen:--last' 'listen:--ring' 'listen:--max-message'
            return 0
        case 'lock run:--timeout'
            return 0
        case 'region read:--timeout'
            return 0
        case 'region write:--timeout'
            return 0
        case 'region dump:--bytes' 'region dump:--timeout'
            return 0
        case 'endpoint connect:--timeout'
            return 0
        case 'who:--interval'
            return 0
        case 'doctor:--pid'
            return 0
        case 'topics:--filter' 'topics:--sort'
            return 0
        case 'clients:--sort'
            return 0
        case 'top:--interval' 'top:-n' 'top:--count' 'top:--sort' 'top:--filter'
            return 0
        case 'monitor:--filter' 'monitor:--kind' 'monitor:--count' 'monitor:--timeout'
            return 0
    end
    return 1
end

# The command, and how many words are behind it, before the one that is being completed.
function __pathbusctl_words
    set -l command ''
    set -l n 0
    set -l skip 0
    set -l ended 0
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
        else if test $ended = 0 -a "$word" = --
            set ended 1
        else if test $ended = 0; and string match -q -- '-?*' $word
            string match -q -- '*=*' $word; and continue
            __pathbusctl_takes_value "$command:$word"; and set skip 1
        else if test -z "$command"
            set command $word
        else if contains -- "$command" state lock region endpoint
            set command "$command $word"
        else
            set n (math $n + 1)
        end
    end
    echo "$command"
    echo $n
end

function __pathbusctl_is
    set -l words (__pathbusctl_words)
    test "$words[1]" = "$argv[1]"
end

# At word number N of this command ("or more": or behind it).
function __pathbusctl_at
    set -l words (__pathbusctl_words)
    test "$words[1]" = "$argv[1]"; or return 1
    test $words[2] = $argv[2]; or test (count $argv) -gt 2 -a $words[2] -ge $argv[2]
end

complete -c pathbusctl -f
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a post -d 'tell everybody who listens on a file that it has changed, or a message'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a listen -d 'print a line for each event on these files, at once'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a state -d 'get, set, cas: see state --help'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a lock -d 'run, show: see lock --help'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a region -d 'list, create, read, write, dump: see region --help'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a endpoint -d 'list, connect: see endpoint --help'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a who -d 'print who has a file open, and its regions, locks and endpoints'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a check -d 'print which transport a topic has and why, and what the rights allow'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a doctor -d 'find out what keeps programs from hearing each other on a file'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a topics -d 'print the topics that the daemon has'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a clients -d 'print who is connected to the daemon'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a stats -d 'print what the daemon has and counts'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a top -d 'show the busiest topics of the daemon, again and again'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a monitor -d 'print what happens in the daemon: a line for each post and event'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a kick -d 'cut a client\'s connection to the daemon'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a reload -d 'have the daemon read its configuration again'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a log-level -d 'print how much the daemon logs, or change it until it ends or reloads'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a config -d 'print the daemon\'s configuration as it is in effect'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a ping -d 'ask the daemon for an answer, print its address and the time it took'
complete -c pathbusctl -n '__pathbusctl_at "" 0' -a version -d 'print the versions of pathbusctl and of the library'
complete -c pathbusctl -n '__pathbusctl_at state 0' -a get -d 'print the state of a file\'s topic, a number of 64 bits'
complete -c pathbusctl -n '__pathbusctl_at state 0' -a set -d 'set the state of a file\'s topic'
complete -c pathbusctl -n '__pathbusctl_at state 0' -a cas -d 'set the state if it is EXPECTED, in one step (compare and swap)'
complete -c pathbusctl -n '__pathbusctl_at lock 0' -a run -d 'run a command while holding a named lock of a file'
complete -c pathbusctl -n '__pathbusctl_at lock 0' -a show -d 'print who holds the locks of a file, since when, and who waits'
complete -c pathbusctl -n '__pathbusctl_at region 0' -a list -d 'print the regions under a file, and who has them'
complete -c pathbusctl -n '__pathbusctl_at region 0' -a create -d 'make a region, and hold it until a signal comes'
complete -c pathbusctl -n '__pathbusctl_at region 0' -a read -d 'write what is in a region to standard output'
complete -c pathbusctl -n '__pathbusctl_at region 0' -a write -d 'publish standard input as the next version of a region'
complete -c pathbusctl -n '__pathbusctl_at region 0' -a dump -d 'print what a region is, and its first bytes, for people'
complete -c pathbusctl -n '__pathbusctl_at endpoint 0' -a list -d 'print the endpoints under a file, and who listens on them'
complete -c pathbusctl -n '__pathbusctl_at endpoint 0' -a connect -d 'connect to an endpoint, and join it to standard input and output'
complete -c pathbusctl -l address -r -F -d 'the daemon\'s socket (default: $PATHBUS_ADDRESS, else the known places)'
complete -c pathbusctl -l control -r -F -d 'the daemon\'s control socket (default: $PATHBUS_CONTROL, else the one ...'
complete -c pathbusctl -l transport -x -a 'auto bus peer socket' -d 'auto: the daemon if it answers (default); bus: only it; peer: never ...'
complete -c pathbusctl -l timeout-ms -x -d 'milliseconds to wait for the daemon\'s answers (default: 250; 5000 on ...'
complete -c pathbusctl -s h -l help -d 'print this help; after a command, that command\'s'
complete -c pathbusctl -l version -d 'print the version'
complete -c pathbusctl -n '__pathbusctl_is "post"' -s m -l message -x -d 'send a message, not just a post; -: all of standard input'
complete -c pathbusctl -n '__pathbusctl_is "post"' -l key -x -d 'the message replaces those of this key that --newest listeners still owe'
complete -c pathbusctl -n '__pathbusctl_is "post"' -l state -x -d 'set the state first, as `state set` does'
complete -c pathbusctl -n '__pathbusctl_is "post"' -l wait -d 'wait until all who listen have dealt with it; else name them and ...'
complete -c pathbusctl -n '__pathbusctl_is "post"' -l timeout -x -d 'with --wait: for so long (default: 10)'
complete -c pathbusctl -n '__pathbusctl_is "post"' -l json -d 'with --wait: print a JSON object per file'
complete -c pathbusctl -n '__pathbusctl_is "post"' -s v -l verbose -d 'print each file and the way its post took: bus, peer or socket'
complete -c pathbusctl -n '__pathbusctl_at "post" 0 or more' -F
complete -c pathbusctl -n '__pathbusctl_is "listen"' -l count -x -d 'stop after N events'
complete -c pathbusctl -n '__pathbusctl_is "listen"' -l timeout -x -d 'stop after so long; 0.5 is half a second'
complete -c pathbusctl -n '__pathbusctl_is "listen"' -l json -d 'print a JSON object per event'
complete -c pathbusctl -n '__pathbusctl_is "listen"' -l raw -d 'print the bytes of each message, and nothing else'
complete -c pathbusctl -n '__pathbusctl_is "listen"' -l newline -d 'with --raw: a newline after each message'
complete -c pathbusctl -n '__pathbusctl_is "listen"' -s 0 -l null -d 'with --raw: a zero byte after each message, as xargs -0 wants it'
complete -c pathbusctl -n '__pathbusctl_is "listen"' -l exec -x -a '(__fish_complete_command)' -d 'run CMD with /bin/sh after each event, one at a time'
complete -c pathbusctl -n '__pathbusctl_is "listen"' -l last -x -d 'begin with the last N messages, as far as they are kept'
complete -c pathbusctl -n '__pathbusctl_is "listen"' -l newest -d 'when behind: of each key only the newest message'
complete -c pathbusctl -n '__pathbusctl_is "listen"' -l ring -x -d 'keep N messages for who is behind, if nobody is there yet (256)'
complete -c pathbusctl -n '__pathbusctl_is "listen"' -l max-message -x -d 'allow messages of so many bytes, if nobody is there yet (4096)'
complete -c pathbusctl -n '__pathbusctl_is "listen"' -l socket -d 'the same as --transport socket'
complete -c pathbusctl -n '__pathbusctl_is "listen"' -s q -l quiet -d 'do not say on stderr that the listening has begun'
complete -c pathbusctl -n '__pathbusctl_at "listen" 0 or more' -F
complete -c pathbusctl -n '__pathbusctl_is "state get"' -l json -d 'print one JSON object, with the version'
complete -c pathbusctl -n '__pathbusctl_at "state get" 0' -F
complete -c pathbusctl -n '__pathbusctl_is "state set"' -l post -d 'then post, so that those who listen look'
complete -c pathbusctl -n '__pathbusctl_at "state set" 0' -F
complete -c pathbusctl -n '__pathbusctl_is "state cas"' -l post -d 'then post, so that those who listen look'
complete -c pathbusctl -n '__pathbusctl_at "state cas" 0' -F
complete -c pathbusctl -n '__pathbusctl_is "lock run"' -l shared -d 'together with others that share it'
complete -c pathbusctl -n '__pathbusctl_is "lock run"' -l timeout -x -d 'how long to wait for the lock, such as 2 or 0.5; else for ever'
complete -c pathbusctl -n '__pathbusctl_is "lock run"' -l no-wait -d 'do not wait: exit status 75 if others hold it'
complete -c pathbusctl -n '__pathbusctl_is "lock run"' -l consistent -d 'if it was abandoned and COMMAND succeeds, all is well again, and ...'
complete -c pathbusctl -n '__pathbusctl_at "lock run" 0' -F
complete -c pathbusctl -n '__pathbusctl_at "lock run" 2 or more' -x -a '(__fish_complete_command)'
complete -c pathbusctl -n '__pathbusctl_is "lock show"' -l json -d 'print a JSON object per lock'
complete -c pathbusctl -n '__pathbusctl_at "lock show" 0' -F
complete -c pathbusctl -n '__pathbusctl_is "region list"' -l json -d 'print one JSON object'
complete -c pathbusctl -n '__pathbusctl_at "region list" 0' -F
complete -c pathbusctl -n '__pathbusctl_is "region create"' -l double -d 'two frames, so that readers always have a whole one'
complete -c pathbusctl -n '__pathbusctl_is "region create"' -l reserve -d 'take all of its memory now, or fail; else it is taken as it is used'
complete -c pathbusctl -n '__pathbusctl_is "region create"' -l huge -d 'huge pages, if they can be had'
complete -c pathbusctl -n '__pathbusctl_is "region create"' -s q -l quiet -d 'do not say that it is there'
complete -c pathbusctl -n '__pathbusctl_at "region create" 0' -F
complete -c pathbusctl -n '__pathbusctl_is "region read"' -l timeout -x -d 'how long to wait while others write it or hold it (default: 10)'
complete -c pathbusctl -n '__pathbusctl_at "region read" 0' -F
complete -c pathbusctl -n '__pathbusctl_is "region write"' -l timeout -x -d 'how long to wait while others write it or hold it (default: 10)'
complete -c pathbusctl -n '__pathbusctl_at "region write" 0' -F
complete -c pathbusctl -n '__pathbusctl_is "region dump"' -l bytes -x -d 'how many of its bytes to show (default: 256)'
complete -c pathbusctl -n '__pathbusctl_is "region dump"' -l json -d 'print one JSON object'
complete -c pathbusctl -n '__pathbusctl_is "region dump"' -l timeout -x -d 'how long to wait while others write it or hold it (default: 10)'
complete -c pathbusctl -n '__pathbusctl_at "region dump" 0' -F
complete -c pathbusctl -n '__pathbusctl_is "endpoint list"' -l json -d 'print one JSON object'
complete -c pathbusctl -n '__pathbusctl_at "endpoint list" 0' -F
complete -c pathbusctl -n '__pathbusctl_is "endpoint connect"' -l timeout -x -d 'wait so long for somebody who listens (default: 0)'
complete -c pathbusctl -n '__pathbusctl_is "endpoint connect"' -s v -l verbose -d 'say on stderr who it is'
complete -c pathbusctl -n '__pathbusctl_at "endpoint connect" 0' -F
complete -c pathbusctl -n '__pathbusctl_is "who"' -l interval -x -d 'look twice, and print how many posts a second each member makes'
complete -c pathbusctl -n '__pathbusctl_is "who"' -l json -d 'print one JSON object'
complete -c pathbusctl -n '__pathbusctl_at "who" 0' -F
complete -c pathbusctl -n '__pathbusctl_is "check"' -l json -d 'print one JSON object'
complete -c pathbusctl -n '__pathbusctl_at "check" 0' -F
complete -c pathbusctl -n '__pathbusctl_is "doctor"' -l pid -x -d 'and what would stop this process from hearing this user\'s posts'
complete -c pathbusctl -n '__pathbusctl_is "doctor"' -l json -d 'print one JSON object'
complete -c pathbusctl -n '__pathbusctl_at "doctor" 0' -F
complete -c pathbusctl -n '__pathbusctl_is "topics"' -l filter -x -d 'only of paths that match: /srv/*.db, or /srv/** for all below /srv'
complete -c pathbusctl -n '__pathbusctl_is "topics"' -l sort -x -a 'id members listen may-post lanes posts messages age path' -d 'id, members, listen, may-post, lanes, posts, messages, age or path'
complete -c pathbusctl -n '__pathbusctl_is "topics"' -l reverse -d 'the other way round'
complete -c pathbusctl -n '__pathbusctl_is "topics"' -l tree -d 'print a tree of folders'
complete -c pathbusctl -n '__pathbusctl_is "topics"' -l json -d 'print a JSON object per topic'
complete -c pathbusctl -n '__pathbusctl_is "clients"' -l sort -x -a 'id pid user age topics requests queued command' -d 'id, pid, user, age, topics, requests, queued or command'
complete -c pathbusctl -n '__pathbusctl_is "clients"' -l reverse -d 'the other way round'
complete -c pathbusctl -n '__pathbusctl_is "clients"' -l json -d 'print a JSON object per client'
complete -c pathbusctl -n '__pathbusctl_is "stats"' -l json -d 'print one JSON object'
complete -c pathbusctl -n '__pathbusctl_is "top"' -l interval -x -d 'look so often (default: 1)'
complete -c pathbusctl -n '__pathbusctl_is "top"' -s n -l count -x -d 'print N times, then end; no screen'
complete -c pathbusctl -n '__pathbusctl_is "top"' -l once -d 'the same, once'
complete -c pathbusctl -n '__pathbusctl_is "top"' -l sort -x -a 'posts/s (default) msgs/s members listen posts messages age path' -d 'posts/s (default), msgs/s, members, listen, posts, messages, age or path'
complete -c pathbusctl -n '__pathbusctl_is "top"' -l reverse -d 'the other way round'
complete -c pathbusctl -n '__pathbusctl_is "top"' -l filter -x -d 'only of paths that match: /srv/**; or, without the first /, that ...'
complete -c pathbusctl -n '__pathbusctl_is "top"' -l json -d 'print a JSON object each time'
complete -c pathbusctl -n '__pathbusctl_is "monitor"' -l filter -x -d 'only of paths that match: /srv/*.db, or /srv/** for all below /srv'
complete -c pathbusctl -n '__pathbusctl_is "monitor"' -l kind -x -a '(__fish_append , client-connected client-gone topic-opened topic-closed member-joined member-left post message gap resync limit link region endpoint log reload)' -d 'only these, with commas between: post,message'
complete -c pathbusctl -n '__pathbusctl_is "monitor"' -l no-posts -d 'all but posts and messages'
complete -c pathbusctl -n '__pathbusctl_is "monitor"' -l count -x -d 'stop after N events'
complete -c pathbusctl -n '__pathbusctl_is "monitor"' -l timeout -x -d 'stop after so long; 0.5 is half a second'
complete -c pathbusctl -n '__pathbusctl_is "monitor"' -l json -d 'print a JSON object per event'
complete -c pathbusctl -n '__pathbusctl_is "monitor"' -s q -l quiet -d 'do not say on stderr that it has begun'
complete -c pathbusctl -n '__pathbusctl_is "kick"' -l id -d 'the number is a client\'s, as `clients` shows it'
complete -c pathbusctl -n '__pathbusctl_is "kick"' -l pid -d 'the number is a process\'s: all its connections'
complete -c pathbusctl -n '__pathbusctl_at "log-level" 0' -x -a 'error warning info debug'
complete -c pathbusctl -n '__pathbusctl_is "config"' -l changed -d 'only what is not at its default'
complete -c pathbusctl -n '__pathbusctl_is "config"' -l json -d 'print one JSON object'
