#!/bin/sh
# Installs the real peers that the tests talk to: legacy Windows (Wine), SSH servers, DICOM services, python-tuf.
# Debian 12 or later, as root; run it as often as you like. Without a peer its tests say "skipped"; with
# WARDROUND_REQUIRE_PEERS=1 they fail.
set -eu

packages="
wine wine64                  # legacy Windows devices
wixl msitools                # builds real MSI packages
gcc-mingw-w64-x86-64         # builds the stand-in for update.exe
openssh-server openssh-client
dcmtk                        # DICOM services
openssl                      # reads and writes keys beside ours
e2fsprogs                    # file systems for the power-cut tests
softhsm2                     # a PKCS#11 token for people's keys
util-linux procps curl ca-certificates
python3 python3-venv
jq                           # the example adapter in sh
samba                        # the SMB side of a Windows device
python3-jsonschema           # judges plans by the published schema
"
wanted=$(printf '%s\n' "$packages" | sed 's/#.*//' | tr -s ' \n' ' ')

missing=
for package in $wanted; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    # shellcheck disable=SC2086 # a list of words
    apt-get install -q -y --no-install-recommends $missing
fi

# sshd wants it even in the foreground; /run is empty after each start of the machine.
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd

# python-tuf, the other implementation of TUF. Pinned: the tests say what this version does.
tuf_peer=/opt/wardround-peers/tuf
tuf_wanted='tuf==7.0.1 securesystemslib==1.6.0 cryptography==50.0.2'
if [ "$(cat "$tuf_peer/installed" 2>/dev/null)" != "$tuf_wanted" ]; then
    python3 -m venv --clear "$tuf_peer"
    # shellcheck disable=SC2086 # a list of words
    "$tuf_peer/bin/pip" install -q --disable-pip-version-check $tuf_wanted
    printf '%s\n' "$tuf_wanted" > "$tuf_peer/installed"
fi
# Not a link: an interpreter finds its environment by the path that it is called by.
rm -f /usr/local/bin/wardround-tuf-python
printf '#!/bin/sh\nexec %s "$@"\n' "$tuf_peer/bin/python3" > /usr/local/bin/wardround-tuf-python
chmod 755 /usr/local/bin/wardround-tuf-python

# impacket, for the adapter that drives Windows over SMB and WMI.
impacket=/opt/wardround-peers/impacket
impacket_wanted='impacket==0.13.1'
if [ "$(cat "$impacket/installed" 2>/dev/null)" != "$impacket_wanted" ]; then
    python3 -m venv --clear "$impacket"
    "$impacket/bin/pip" install -q --disable-pip-version-check "$impacket_wanted"
    printf '%s\n' "$impacket_wanted" > "$impacket/installed"
fi
rm -f /usr/local/bin/wardround-impacket-python
printf '#!/bin/sh\nexec %s "$@"\n' "$impacket/bin/python3" > /usr/local/bin/wardround-impacket-python
chmod 755 /usr/local/bin/wardround-impacket-python

for program in softhsm2-util /usr/lib/wine/wine64 wixl x86_64-w64-mingw32-gcc /usr/sbin/sshd ssh sftp ssh-keygen storescp dcmqrscp openssl \
    mkfs.ext4 mount python3 jq wardround-tuf-python wardround-impacket-python /usr/sbin/smbd; do
    command -v "$program" > /dev/null || { echo "$program is still missing" >&2; exit 1; }
done
echo "all peers are there"
