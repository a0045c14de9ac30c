#!/bin/bash
# What WMI's Win32_Process.Create does on a real Windows, for the Wine prefix $1: starts the command in each file
# wardround/wr-run/*.job on its drive, and waits for none.
export WINEPREFIX=$1 WINEARCH=win64 WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml="
unset DISPLAY
cd "$1/drive_c" || exit 1
shopt -s nullglob
while sleep 0.05; do
    for job in wardround/wr-run/*.job; do
        line=$(cat "$job")
        rm -f "$job"
        # cmd.exe's arguments go to Wine's cmd without another round of quoting.
        line=${line#cmd.exe }
        line=${line#/v:on }
        line=${line#/c }
        setsid /usr/lib/wine/wine64 cmd /v:on /c "$line" < /dev/null > /dev/null 2>&1 &
    done
done
