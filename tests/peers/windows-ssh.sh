#!/bin/bash
# An SSH session as OpenSSH for Windows gives it with cmd.exe as the default shell, onto the Wine prefix $1.
# What Wine lacks is played here: a restart that takes the machine away for a moment, and a boot time that changes.
prefix=$1
state=$prefix/rig
export WINEPREFIX=$prefix WINEARCH=win64 WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml="
unset DISPLAY
wine=/usr/lib/wine/wine64
mkdir -p "$state"
if [ -e "$state/down" ]; then exit 255; fi

line=$SSH_ORIGINAL_COMMAND
case $line in
*sftp-server* | internal-sftp) exec /usr/lib/openssh/sftp-server ;;
esac
cd "$prefix/drive_c" || exit 255

# Windows starts `cmd /c <line>`; here the line goes to Wine's cmd without another round of quoting.
if [[ $line == 'cmd /v:on /c "'*'"' ]]; then
    line=${line#'cmd /v:on /c "'}
    line=${line%'"'}
fi
times='wmic os get LastBootUpTime,LocalDateTime /value'
cim=%Y%m%d%H%M%S.%6N+000
if [[ $line == *"$times"* ]]; then
    # It has been up for an hour when it is first asked.
    [ -e wardround-boot.txt ] || date -u -d '1 hour ago' "+LastBootUpTime=$cim" > wardround-boot.txt
    line=${line/"$times"/"type C:\\wardround-boot.txt& echo $(date -u "+LocalDateTime=$cim")"}
fi
if [[ $line == *'shutdown -r -t 0'* ]]; then
    line=${line/'shutdown -r -t 0'/'echo restarting'}
    : > "$state/down"
    setsid bash -c '
        # application.sh takes its program down; with "slow" the restart takes until the test removes it.
        while [ -e "$1/application" ] || [ -e "$1/slow" ]; do sleep 0.05; done
        if [ -d "$1/filter" ]; then "$3" "${1%/rig}" restart; else "$0" wineboot -r; fi
        # No machine starts twice within seconds, and by times so near no restart could be told from a clock that is set.
        while [ $(($(date +%s) - $(stat -c %Y "$1/started" 2> /dev/null || echo 0))) -lt 5 ]; do sleep 0.2; done
        : > "$1/started"
        # By its whole path: the folder that this began in may have been thrown away.
        date -u "+LastBootUpTime=$2" > "${1%/rig}/drive_c/wardround-boot.txt"
        rm -f "$1/down"
    ' "$wine" "$state" "$cim" "${0%/*}/filter.sh" < /dev/null > /dev/null 2>&1 &
fi
# A launcher that is late: it begins when the test removes the file.
if [[ $line == *'start /b cmd /c '* && -e $state/hold ]]; then
    launcher=${line##*'start /b cmd /c '}
    setsid bash -c '
        while [ -e "$1/hold" ]; do sleep 0.05; done
        "$0" cmd /c "$2"
        : > "$1/ended"
    ' "$wine" "$state" "${launcher%% *}" < /dev/null > /dev/null 2>&1 &
    : > "$state/held"
    line='echo ::begin answer& echo held& echo ::end answer'
fi
# Wine's services inherit the output of whoever starts them first, and would hold the session open: hence a file.
out=$(mktemp)
# Wine makes one command line of its arguments again, with quotes around those that have a space; a quote inside one it would escape.
words=("$line")
if [[ $line == *'"'* ]]; then
    mapfile -t words < <(grep -oE '"[^"]*"|[^" ]+' <<< "$line" | tr -d '"')
fi
"$wine" cmd /v:on /c "${words[@]}" < /dev/null > "$out" 2> /dev/null
cat "$out"
rm -f "$out"
