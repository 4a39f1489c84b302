# Makes the root of a box (boxes.py) in the mount namespace that it is run in, and becomes a command.
# box.sh ROOT SHARED rw|ro UNITS PREFIX PYTHON CODE SEEN... -- COMMAND...
set -eu
root=$1 shared=$2 mode=$3 units=$4 prefix=$5 python=$6 code=$7
shift 7

read_only() {
  mkdir -p "$root$1"
  mount --bind "$1" "$root$1"
  mount -o remount,bind,ro "$root$1"
}

mount --make-rprivate /
# Loopback is there, and down.
"$python" -c "$code"
mount -t tmpfs -o mode=755 tmpfs "$root"
for name in usr etc; do read_only "/$name"; done
for name in bin sbin lib lib64; do
  if [ -L "/$name" ]; then cp -d "/$name" "$root/$name"; elif [ -d "/$name" ]; then read_only "/$name"; fi
done
while [ "$1" != -- ]; do
  read_only "$1"
  shift
done
shift
mkdir -p "$root/opt" "$root/proc" "$root/dev" "$root/run" "$root/tmp" "$root/var/lib" "$root/sys" "$root/root"
ln -s "$prefix" "$root/opt/icehouse"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero urandom random full; do
  touch "$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
ln -s /proc/self/fd "$root/dev/fd"
if [ -n "$units" ]; then
  # PrivateDevices= wants these to be there.
  mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue"
  mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
  ln -s pts/ptmx "$root/dev/ptmx"
  touch "$root/dev/tty"
  mount --bind /dev/tty "$root/dev/tty"
  # systemd has the machine to itself: its own /run, units and empty targets.
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  # No mount of its own: the interpreter may lie below.
  chmod 1777 "$root/tmp"
  mount -t tmpfs -o mode=755 tmpfs "$root/var/lib"
  mount -t tmpfs -o mode=755 tmpfs "$root/etc/systemd/system"
  cp -r "$units"/* "$root/etc/systemd/system"
  # It would look at the disks of this machine.
  ln -s /dev/null "$root/etc/systemd/system/systemd-remount-fs.service"
  # The unit's user is one of this root alone.
  cp /etc/passwd /etc/group "$root/tmp"
  echo "icehouse:x:10001:10001::/nonexistent:/usr/sbin/nologin" >>"$root/tmp/passwd"
  echo "icehouse:x:10001:" >>"$root/tmp/group"
  for name in passwd group; do mount --bind "$root/tmp/$name" "$root/etc/$name"; done
  for target in sysinit local-fs sockets timers multi-user basic paths graphical; do
    folder=$root/usr/lib/systemd/system/$target.target.wants
    [ ! -d "$folder" ] || mount -t tmpfs tmpfs "$folder"
  done
  mount -t tmpfs -o mode=755 tmpfs "$root/sys"
  mkdir -p "$root/sys/fs/cgroup/systemd"
  mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
  mkdir -p "$root/sys/fs/cgroup/systemd"
  mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
  mkdir -p "$root/run/shared" "$root/run/systemd/system"
  mount --bind "$shared" "$root/run/shared"
else
  mkdir -p "$root/run/icehouse"
  mount --bind "$shared" "$root/run/icehouse"
  [ "$mode" = rw ] || mount -o remount,bind,ro "$root/run/icehouse"
  mount -o remount,ro "$root"
fi
# Not chroot alone: what is outside must not be reachable, nor seen among the mounts.
cd "$root"
pivot_root . proc/..
umount -l .
exec chroot . "$@"
