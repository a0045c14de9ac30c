#!/bin/bash
# The application of a device behind windows-ssh.sh, kept running as its own service manager does: application.sh PREFIX PROGRAM…
# It goes down with the device, comes up once the device's services have, and is started again whenever it ends.
state=$1/rig
shift
mkdir -p "$state"
while :; do
    if [ -e "$state/down" ]; then
        sleep 0.05
        continue
    fi
    : > "$state/application"
    "$@" < /dev/null > /dev/null 2>&1 &
    while [ ! -e "$state/down" ] && kill -0 $! 2> /dev/null; do sleep 0.05; done
    kill -9 $! 2> /dev/null
    wait $!
    # The restart waits for this.
    rm -f "$state/application"
    sleep 0.3
done
