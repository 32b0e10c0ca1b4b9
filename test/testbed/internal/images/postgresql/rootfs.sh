#!/bin/sh
# Makes the root file system of the PostgreSQL image out of Debian's packages:
#
#   rootfs.sh DIR SUITE MAJOR MIRROR [NEWER_SUITE NEWER_MAJOR]
#
# With a newer major version, which a newer suite has, the image is of that one, and has the libraries of both: in an
# upgrade of the data it runs the programs of the older one too, which the operator takes from its image.
#
# It must run in a mount and pid namespace of its own, so that whatever it mounts or starts is gone when it ends,
# however it ends.
set -eu
dir=$1 suite=$2 major=$3 mirror=$4 newer_suite=${5:-} newer=${6:-}
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

mount --make-rprivate /

# PostgreSQL does without just-in-time compilation where its library is absent; LLVM is half of what would be unpacked.
# Nothing here has to outlast a power cut.
mkdir -p "$dir/etc/dpkg/dpkg.cfg.d"
cat >"$dir/etc/dpkg/dpkg.cfg.d/small" <<CFG
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/lib/*/libLLVM*
path-exclude=/usr/lib/*/libz3*
path-exclude=/usr/lib/llvm-*
path-exclude=/usr/lib/postgresql/*/lib/llvmjit*
path-exclude=/usr/lib/postgresql/*/lib/bitcode/*
CFG

debootstrap --variant=minbase --force-check-gpg --keyring=/usr/share/keyrings/debian-archive-keyring.gpg "$suite" "$dir" "$mirror"

run() { chroot "$dir" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"; }

# Nothing may start inside the chroot.
printf '#!/bin/sh\nexit 101\n' >"$dir/usr/sbin/policy-rc.d"
chmod 0755 "$dir/usr/sbin/policy-rc.d"
echo 'APT::Install-Recommends "false";' >"$dir/etc/apt/apt.conf.d/small"

# The operator runs the database as uid and gid 26 and expects the image's postgres to be that user. Debian gives
# that gid to a group for tape drives.
run groupdel tape
run groupadd --system --gid 26 postgres
run useradd --system --uid 26 --gid 26 --home-dir /var/lib/postgresql --shell /bin/bash --no-create-home postgres

mount -t proc proc "$dir/proc"
run apt-get update
run apt-get install --yes postgresql-common
mkdir -p "$dir/etc/postgresql-common"
sed -i 's/^#\? *create_main_cluster.*/create_main_cluster = false/' "$dir/etc/postgresql-common/createcluster.conf"
run apt-get install --yes "postgresql-$major"
if [ -n "$newer" ]; then
	# A suite that is not released yet has an index that expires, and a mirror may be behind.
	echo "deb [check-valid-until=no] $mirror $newer_suite main" >"$dir/etc/apt/sources.list.d/newer.list"
	run apt-get update
	run apt-get install --yes --target-release "$newer_suite" "postgresql-$newer"
	rm -rf "$dir/usr/lib/postgresql/$major" "$dir/usr/share/postgresql/$major"
	major=$newer
fi

bin=/usr/lib/postgresql/$major/bin
for program in postgres initdb pg_ctl pg_controldata psql pg_dump pg_restore pg_basebackup pg_rewind pg_isready pg_upgrade pg_config; do
	test -x "$dir$bin/$program" || { echo "postgresql-$major has no $program in $bin" >&2; exit 1; }
done
test -e "$dir/usr/share/postgresql/$major/extension/pgcrypto.control" || { echo "postgresql-$major has no pgcrypto" >&2; exit 1; }
test "$(run id -u postgres):$(run id -g postgres)" = 26:26 || { echo "postgres is not 26:26" >&2; exit 1; }

run apt-get clean
rm -rf "$dir"/var/lib/apt/lists/* "$dir"/var/cache/* "$dir"/var/log/* "$dir"/usr/share/doc/* "$dir"/usr/share/man/* \
	"$dir"/usr/share/info/* "$dir"/usr/share/locale/* "$dir"/tmp/* "$dir"/usr/sbin/policy-rc.d \
	"$dir"/etc/ssl/private/*.key "$dir"/etc/machine-id "$dir"/var/lib/dpkg/*-old "$dir"/etc/*- \
	"$dir"/etc/resolv.conf "$dir"/etc/hostname
mkdir -p "$dir/var/cache" "$dir/var/log"
run "$bin/postgres" --version
umount "$dir/proc"
