#!/bin/sh
# Makes DIR a Debian 13 tree with the newer Orthanc (1.12.7, DICOMweb 1.20) in it.
#
# Needs root, debootstrap and about 600 MB; takes two minutes. The packages come
# from wherever this machine's own apt takes them. Afterwards:
#
#     GATEWAY_ORTHANC_CHROOT=DIR python -m tests.benchmarks
set -eu

if [ $# -ne 1 ]; then
    echo "usage: $0 DIR" >&2
    exit 2
fi
tree=$1

if [ -x "$tree/usr/sbin/Orthanc" ]; then
    echo "$tree has an Orthanc already"
    exit 0
fi

# The first archive that apt reads here which is the main one, not security's.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' |
    sed 's|/*$||' | grep -m 1 '/debian$' || true)
if [ -z "$mirror" ]; then
    echo "apt names no Debian archive on this machine" >&2
    exit 1
fi

debootstrap --variant=minbase trixie "$tree" "$mirror"

# The tree reaches the archive as this machine does: same proxy, same checks.
apt-config dump | grep -E '^Acquire::(https?|Check)[A-Za-z:-]* "[^"]' \
    > "$tree/etc/apt/apt.conf.d/01machine" || true

# A package that would start its service is told not to.
printf '#!/bin/sh\nexit 101\n' > "$tree/usr/sbin/policy-rc.d"
chmod 755 "$tree/usr/sbin/policy-rc.d"

mount -t proc proc "$tree/proc"
trap 'umount "$tree/proc"' EXIT
export DEBIAN_FRONTEND=noninteractive
chroot "$tree" apt-get update
chroot "$tree" apt-get install --yes --no-install-recommends \
    orthanc orthanc-dicomweb
chroot "$tree" apt-get clean
chroot "$tree" /usr/sbin/Orthanc --version | head -n 1
