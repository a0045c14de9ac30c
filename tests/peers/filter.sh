#!/bin/bash
# Plays the disk below a write filter on the Wine prefix $1: what the filter protects is kept beside it, and a restart while the
# filter is on puts that back, as the real one loses its overlay. `filter.sh PREFIX install|keep|restart`; ewfmgr and fbwfmgr
# themselves are filter.c.
set -e
prefix=$1 state=$1/rig/filter
on() { [ "$(cat "$state/$1")" = on ]; }
keep() {
    rm -rf "$state/kept"
    mkdir "$state/kept"
    # Links, since only new and removed files tell; the registry is written over.
    cp -al "$prefix/drive_c" "$state/kept/"
    cp -a "$prefix"/*.reg "$state/kept/"
}
export WINEPREFIX=$prefix WINEARCH=win64 WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml="
case $2 in
install) # it is there, and on
    mkdir -p "$state"
    echo on > "$state/now"
    echo on > "$state/next"
    : > "$state/restarts"
    wineserver -k || true
    wineserver -w
    keep
    wineserver -p
    ;;
restart)
    echo x >> "$state/restarts"
    if on now; then
        wineserver -k || true
        wineserver -w
        rm -rf "$prefix/drive_c" "$prefix"/*.reg
        cp -al "$state/kept/drive_c" "$prefix/"
        cp -a "$state/kept/"*.reg "$prefix/"
        wineserver -p
    else
        /usr/lib/wine/wine64 wineboot -r
    fi
    cp "$state/next" "$state/now"
    if on now; then
        wineserver -k || true
        wineserver -w
        keep
        wineserver -p
    fi
    ;;
esac
