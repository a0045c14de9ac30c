#!/bin/sh
# Makes the Debian package of a site node out of a built program: deb.sh PROGRAM FOLDER
#
# Needs dpkg-deb alone. The same program gives the same bytes: every time in it is SOURCE_DATE_EPOCH (seconds), or that of the last
# commit. Prints the package's path.
set -eu

[ $# -eq 2 ] || { echo "usage: packaging/deb.sh PROGRAM FOLDER" >&2; exit 2; }
program=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")

version=$("$program" --version | awk '{ print $2 }')
case $version in
"" | *[!0-9A-Za-z.+~-]*) echo "$program does not say its version" >&2; exit 1 ;;
esac
# As Debian's own tools take it from the environment.
maintainer="${DEBFULLNAME:-wardround} <${DEBEMAIL:-root@localhost}>"
architecture=$(dpkg --print-architecture)
: "${SOURCE_DATE_EPOCH:=$(git -C "$top" log -1 --format=%ct 2>/dev/null || date +%s)}"
export SOURCE_DATE_EPOCH
umask 022

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT INT TERM
chmod 755 "$root"
doc=$root/usr/share/doc/wardround-node
mkdir -p "$root/DEBIAN" "$root/usr/bin" "$root/usr/lib/systemd/system" "$doc" \
    "$root/usr/share/lintian/overrides"
install -m 755 "$program" "$root/usr/bin/wardround"
install -m 644 "$here/wardround-node.service" "$root/usr/lib/systemd/system/"
install -m 644 "$here/copyright" "$doc/copyright"
for page in enrolling-a-site site-file operations adapters self-update; do
    install -m 644 "$top/docs/$page.md" "$doc/"
done
changed=$(date -u -R -d "@$SOURCE_DATE_EPOCH")
printf 'wardround-node (%s) unstable; urgency=medium\n\n  * Release %s.\n\n -- %s  %s\n' \
    "$version" "$version" "$maintainer" "$changed" | gzip -9n > "$doc/changelog.gz"
# The help is in the program. A person enables the service, so the package disables it as a person would. The program asks the package
# databases of devices, not this machine's.
cat > "$root/usr/share/lintian/overrides/wardround-node" <<EOF
wardround-node: no-manual-page [usr/bin/wardround]
wardround-node: maintainer-script-calls-systemctl [prerm:*]
wardround-node: uses-dpkg-database-directly [usr/bin/wardround]
EOF

size=$(du -k -s --apparent-size "$root" | cut -f1)
libc=$(ldd --version 2>/dev/null | sed -n '1s/.* //p')
cat > "$root/DEBIAN/control" <<EOF
Package: wardround-node
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $size
Depends: libc6 (>= ${libc:-2.36}), libgcc-s1, adduser
Recommends: openssh-client
Section: admin
Priority: optional
Description: site node that brings signed patches to old clinical devices
 wardround patches the computers of a hospital estate a few at a time, watches
 the clinical systems after each install, and takes a patch back where they get
 worse. This is the program, with the service of a site's node.
 .
 The service does not start before the node is enrolled; see
 /usr/share/doc/wardround-node/enrolling-a-site.md.
EOF
for script in postinst prerm postrm; do
    install -m 755 "$here/wardround-node.$script" "$root/DEBIAN/$script"
done
(cd "$root" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum > DEBIAN/md5sums)
chmod 644 "$root/DEBIAN/control" "$root/DEBIAN/md5sums"
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

mkdir -p "$out"
package=$out/wardround-node_${version}_$architecture.deb
# COMPRESSION: options of dpkg-deb for whoever has no time.
# shellcheck disable=SC2086
dpkg-deb --root-owner-group ${COMPRESSION:--Zxz} --build "$root" "$package" >&2
echo "$package"
