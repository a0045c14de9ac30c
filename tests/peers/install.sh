#!/bin/sh
# Installs the real peers that the tests talk to: legacy Windows (Wine), SSH servers, DICOM and HL7 services, PostgreSQL,
# python-tuf.
# Debian 12 or later, as root; run it as often as you like. Without a peer its tests say "skipped"; with
# WARDROUND_REQUIRE_PEERS=1 they fail.
set -eu

packages="
wine wine64                  # legacy Windows devices
wixl msitools                # builds real MSI packages
gcc-mingw-w64-x86-64         # builds the stand-in for update.exe
openssh-server openssh-client
iproute2                     # networks of machines: ip netns
dcmtk                        # DICOM services
orthanc                      # a PACS
postgresql                   # the database of a laboratory system
openssl                      # reads and writes keys beside ours; TLS servers
rpm                          # packages of old Linux
e2fsprogs                    # file systems for the power-cut tests
softhsm2                     # a PKCS#11 token for people's keys
util-linux procps curl ca-certificates
python3 python3-venv
binutils                     # strips the program for the package and for self-update
systemd                      # judges the node's service
mmdebstrap systemd-container # a bare Debian, booted, for the package and the service
jq                           # the example adapter in sh
faketime                     # clocks that are set
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

# python_peer NAME PACKAGE…: an environment of its own with pinned packages, as the program wardround-NAME-python. Not a link:
# an interpreter finds its environment by the path that it is called by.
python_peer() {
    name=$1
    shift
    peer=/opt/wardround-peers/$name
    if [ "$(cat "$peer/installed" 2>/dev/null)" != "$*" ]; then
        python3 -m venv --clear "$peer"
        "$peer/bin/pip" install -q --disable-pip-version-check "$@"
        printf '%s\n' "$*" > "$peer/installed"
    fi
    rm -f "/usr/local/bin/wardround-$name-python"
    printf '#!/bin/sh\nexec %s "$@"\n' "$peer/bin/python3" > "/usr/local/bin/wardround-$name-python"
    chmod 755 "/usr/local/bin/wardround-$name-python"
}
# python-tuf, the other implementation of TUF. Pinned: the tests say what this version does.
python_peer tuf tuf==7.0.1 securesystemslib==1.6.0 cryptography==50.0.2
# DICOM and HL7 as others speak them.
python_peer probes pynetdicom==3.0.4 pydicom==3.0.2 hl7==0.4.5

# A bare Debian of this machine's release: the package is installed there, and its systemd runs the service. Copied by the test, never booted.
if [ "$(id -u)" = 0 ]; then
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    holds=systemd-sysv,dbus,adduser,openssh-client,libgcc-s1
    bare=/opt/wardround-peers/debian
    if [ "$(cat "$bare/installed" 2>/dev/null)" != "$release $holds" ]; then
        rm -rf "$bare"
        mkdir -p "$bare"
        # From where this machine has its own packages.
        set --
        for sources in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
            [ ! -s "$sources" ] || set -- "$@" "$sources"
        done
        mmdebstrap --quiet --variant=minbase --include="$holds" "$release" "$bare/root" "$@"
        printf '%s\n' "$release $holds" > "$bare/installed"
    fi
fi

# impacket, for the adapter that drives Windows over SMB and WMI.
python_peer impacket impacket==0.13.1

for program in ip softhsm2-util /usr/lib/wine/wine64 wixl x86_64-w64-mingw32-gcc /usr/sbin/sshd ssh sftp ssh-keygen storescp dcmqrscp Orthanc \
    /usr/lib/postgresql/*/bin/initdb openssl mkfs.ext4 mount rpm rpmbuild dpkg-deb strip systemd-analyze systemd-nspawn python3 jq /usr/sbin/smbd wardround-tuf-python faketime \
    wardround-probes-python wardround-impacket-python; do
    command -v "$program" > /dev/null || { echo "$program is still missing" >&2; exit 1; }
done
echo "all peers are there"
